#include "server/session/made_guest.h"

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "proto/support/status_macros.h"
#include "server/observe/log.h"

namespace kdbg::session {
namespace {

// Whether it says something of the template, and not of the host at this moment.
bool IsTheTemplates(const absl::Status& status) {
  return !absl::IsUnavailable(status) && !absl::IsResourceExhausted(status);
}

// Where what it was restored from had printed so far, but for one that has printed on since.
absl::StatusOr<MadeGuest> Restored(const Admitted& admitted, const guest::GuestHost& host,
                                   const guest::GuestListener& listener) {
  guest::MachineImage image = admitted.saved->image;
  std::error_code error;
  if (std::filesystem::exists(guest::ConsoleLogPath(admitted.guest.directory), error)) {
    image.console.clear();
  }
  KDBG_ASSIGN_OR_RETURN(std::shared_ptr<guest::Guest> restored,
                        guest::Guest::Clone(admitted.guest, image, host, listener));
  return MadeGuest{.guest = std::move(restored),
                   .origin = Origin::kRestored,
                   .stopped_at = admitted.saved->stopped_at,
                   .template_key = "",
                   .mark = nullptr};
}

}  // namespace

absl::StatusOr<MadeGuest> CloneOf(const TemplatePool::Found& found, const guest::GuestSpec& spec,
                                  const guest::GuestHost& host,
                                  const guest::GuestListener& listener) {
  KDBG_ASSIGN_OR_RETURN(const guest::MachineImage image, found.from->Image());
  KDBG_ASSIGN_OR_RETURN(std::shared_ptr<guest::Guest> clone,
                        guest::Guest::Clone(spec, image, host, listener));
  return MadeGuest{.guest = std::move(clone),
                   .origin = Origin::kCloned,
                   .stopped_at = found.from->stopped_at(),
                   .template_key = found.key,
                   .mark = found.mark};
}

absl::StatusOr<MadeGuest> MakeGuest(TemplatePool* templates, const Admitted& admitted,
                                    const guest::GuestHost& host,
                                    const guest::GuestListener& listener) {
  if (admitted.saved) return Restored(admitted, host, listener);
  const guest::GuestSpec& spec = admitted.guest;
  if (const auto found =
          templates != nullptr ? templates->Ask(spec, admitted.stop) : std::nullopt) {
    absl::StatusOr<MadeGuest> clone = CloneOf(*found, spec, host, listener);
    if (clone.ok()) return clone;
    spdlog::warn("session {}: no clone, it boots cold: {}", spec.id, clone.status().ToString());
    if (IsTheTemplates(clone.status())) templates->Reject(found->key);
  }
  KDBG_ASSIGN_OR_RETURN(std::shared_ptr<guest::Guest> cold,
                        guest::Guest::Create(spec, host, listener));
  return MadeGuest{.guest = std::move(cold),
                   .origin = Origin::kCold,
                   .stopped_at = "",
                   .template_key = "",
                   .mark = nullptr};
}

}  // namespace kdbg::session
