#include "server/guest/template.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "server/guest/template_manifest.h"

namespace kdbg::guest {
namespace {

constexpr std::size_t kMaxStateBytes = std::size_t{64} << 20;

std::filesystem::path StatePath(const std::filesystem::path& directory) {
  return directory / "state";
}
std::filesystem::path ConsolePath(const std::filesystem::path& directory) {
  return directory / "console";
}
std::filesystem::path ManifestPath(const std::filesystem::path& directory) {
  return directory / "manifest";
}

std::string_view NameOf(const StopPoint& stop) {
  if (const auto* symbol = std::get_if<StopAtSymbol>(&stop)) return symbol->symbol;
  if (std::holds_alternative<StopAtShell>(stop)) return "(shell)";
  return std::holds_alternative<StopAtReset>(stop) ? "(reset)" : "(nowhere)";
}

absl::Status Corrupt(std::string_view what) {
  return MakeError(absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
                   fmt::format("the template's {} is not what was made", what));
}

absl::StatusOr<std::string> DigestOfState(const std::filesystem::path& directory) {
  KDBG_ASSIGN_OR_RETURN(const std::string state, ReadFile(StatePath(directory), kMaxStateBytes));
  return Sha256Hex(state);
}

void RemoveFiles(const std::filesystem::path& directory) {
  std::error_code ignored;
  std::filesystem::remove(ManifestPath(directory), ignored);  // first: then it is unfinished
  std::filesystem::remove_all(directory, ignored);
}

// Boots the maker and leaves what it is at its stop point in `directory` and `memory`.
absl::StatusOr<StopReport> Boot(const std::filesystem::path& directory,
                                const Template::Order& order, const RamImage& memory,
                                const GuestHost& host, const std::stop_token& cancel) {
  GuestSpec spec = order.maker;
  spec.memory_file =
      vm::MemoryFile{.path = memory.path(), .access = vm::MemoryFile::Access::kShared};
  spec.priority = vm::Priority::kIdle;
  KDBG_ASSIGN_OR_RETURN(const std::unique_ptr<Guest> maker, Guest::Create(spec, host, {}));
  const auto to_the_point = [&]() -> absl::StatusOr<StopReport> {
    KDBG_ASSIGN_OR_RETURN(StopReport report,
                          maker->RunToStopPoint(order.stop, order.timeout, cancel));
    const UniqueFd state(
        ::open(StatePath(directory).c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
    if (!state) return ErrnoError(errno, "make a template's state");
    KDBG_RETURN_IF_ERROR(maker->Save(state.get(), cancel));
    KDBG_RETURN_IF_ERROR(maker->console()->CopyTo(ConsolePath(directory)));
    return report;
  };
  absl::StatusOr<StopReport> report = to_the_point();
  const absl::Status gone = maker->Destroy();
  if (report.ok()) KDBG_RETURN_IF_ERROR(gone);
  return report;
}

}  // namespace

bool CanBeCloned(const StopPoint& stop) { return !std::holds_alternative<StopNowhere>(stop); }

std::string TemplateKey(const GuestSpec& spec, const StopPoint& stop,
                        std::string_view emulator_version) {
  // Each with its length in front, so that no two lists of fields read the same.
  std::string all;
  const auto add = [&all](std::string_view field) {
    all += fmt::format("{}:{}\n", field.size(), field);
  };
  add(spec.owner);
  add(spec.run_as ? fmt::format("{}:{}", spec.run_as->uid, spec.run_as->gid) : "");
  add(TraitsOf(spec.architecture).name);
  add(vm::ToString(spec.accelerator));
  add(std::to_string(spec.vcpu_count));
  add(std::to_string(spec.memory_mib));
  add(spec.kernel_image.native());
  add(spec.system_map.native());
  add(spec.initramfs.native());
  add(spec.ready_sign == ReadySign::kMarkerLine ? "marker" : "instruction");
  add(spec.command_line);
  add(std::to_string(stop.index()));
  add(NameOf(stop));
  add(emulator_version);
  return Sha256Hex(all);
}

Template::Template(std::filesystem::path directory, std::string key, std::string stopped_at,
                   std::string state_digest, std::unique_ptr<RamImage> memory)
    : directory_(std::move(directory)),
      key_(std::move(key)),
      stopped_at_(std::move(stopped_at)),
      state_digest_(std::move(state_digest)),
      memory_(std::move(memory)) {}

Template::~Template() = default;

absl::StatusOr<std::shared_ptr<const Template>> Template::Make(
    const std::filesystem::path& directory, const Order& order, const GuestHost& host,
    std::stop_token cancel) {
  const auto make = [&]() -> absl::StatusOr<std::shared_ptr<const Template>> {
    KDBG_RETURN_IF_ERROR(MakeDirectories(directory, 0700));
    TemplateManifest manifest{.key = order.key,
                              .stopped_at = "",
                              .memory_bytes = order.maker.memory_mib << 20,
                              .keeper = {},
                              .memory_digest = "",
                              .state_digest = ""};
    KDBG_ASSIGN_OR_RETURN(std::unique_ptr<RamImage> memory,
                          RamImage::Make(manifest.memory_bytes, order.maker.run_as, directory));
    KDBG_ASSIGN_OR_RETURN(const StopReport report, Boot(directory, order, *memory, host, cancel));
    KDBG_RETURN_IF_ERROR(memory->Seal());
    manifest.stopped_at = report.stopped_at;
    manifest.keeper = memory->mark();
    KDBG_ASSIGN_OR_RETURN(manifest.memory_digest, memory->Digest());
    KDBG_ASSIGN_OR_RETURN(manifest.state_digest, DigestOfState(directory));
    KDBG_RETURN_IF_ERROR(WriteFileAtomic(ManifestPath(directory), FormatManifest(manifest), 0600));
    KDBG_RETURN_IF_ERROR(memory->Keep());
    return std::shared_ptr<const Template>(new Template(directory, order.key, report.stopped_at,
                                                        manifest.state_digest, std::move(memory)));
  };
  auto made = make();
  if (!made.ok()) RemoveFiles(directory);
  return made;
}

absl::StatusOr<std::shared_ptr<const Template>> Template::Adopt(
    const std::filesystem::path& directory) {
  KDBG_ASSIGN_OR_RETURN(const std::string text, ReadFile(ManifestPath(directory)));
  KDBG_ASSIGN_OR_RETURN(const TemplateManifest manifest, ParseManifest(text));
  KDBG_ASSIGN_OR_RETURN(std::unique_ptr<RamImage> memory,
                        RamImage::Adopt(manifest.keeper, manifest.memory_bytes));
  KDBG_ASSIGN_OR_RETURN(const std::string memory_digest, memory->Digest());
  const absl::StatusOr<std::string> state_digest = DigestOfState(directory);
  if (memory_digest != manifest.memory_digest || !state_digest.ok() ||
      *state_digest != manifest.state_digest) {
    memory->Discard();
    return Corrupt(memory_digest != manifest.memory_digest ? "memory" : "state");
  }
  return std::shared_ptr<const Template>(new Template(directory, manifest.key, manifest.stopped_at,
                                                      manifest.state_digest, std::move(memory)));
}

absl::StatusOr<MachineImage> Template::Image() const {
  if (!memory_->reachable()) return absl::NotFoundError("the template's memory is gone");
  KDBG_ASSIGN_OR_RETURN(const std::string digest, DigestOfState(directory_));
  if (digest != state_digest_) return Corrupt("state");
  return MachineImage{
      .state = StatePath(directory_),
      .memory = vm::MemoryFile{.path = memory_->path(), .access = vm::MemoryFile::Access::kPrivate},
      .console = ConsolePath(directory_)};
}

int Template::keeper_pid() const { return memory_->mark().pid; }

void Template::Discard() const {
  RemoveFiles(directory_);
  memory_->Discard();
}

}  // namespace kdbg::guest
