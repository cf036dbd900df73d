#include "server/vm/libvirt/domain_state.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/vm/libvirt/qmp.h"
#include "server/vm/state_transfer.h"

namespace kdbg::vm {
namespace {

using google::protobuf::Struct;

// How long QEMU may do nothing. It works in one go, on a machine that may be busy.
constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr std::int64_t kMaxStateBytes = std::int64_t{1} << 40;

Struct With(const char* key, std::string_view value) {
  Struct object;
  (*object.mutable_fields())[key].set_string_value(std::string(value));
  return object;
}

// Both ends must have it: it changes the form of the state even where no memory is shared.
absl::Status Prepare(virDomainPtr domain) {
  Struct capability = With("capability", "x-ignore-shared");
  (*capability.mutable_fields())["state"].set_bool_value(true);
  Struct arguments;
  auto* list = (*arguments.mutable_fields())["capabilities"].mutable_list_value();
  *list->add_values()->mutable_struct_value() = std::move(capability);
  return RunQmp(domain, "migrate-set-capabilities", arguments).status();
}

std::string Address(const StateChannel& channel) {
  return fmt::format("unix:{}", channel.socket.string());
}

// OK when the transfer is complete, not only over.
absl::Status CheckCompleted(virDomainPtr domain, std::string_view what) {
  KDBG_ASSIGN_OR_RETURN(const Struct transfer, RunQmp(domain, "query-migrate"));
  if (TextOf(transfer, "status") == "completed") return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHypervisorRefused,
                   fmt::format("QEMU could not {} the machine's state: {} {}", what,
                               TextOf(transfer, "status"), TextOf(transfer, "error-desc")));
}

}  // namespace

absl::Status SaveDomainState(virDomainPtr domain, const StateChannel& channel, int file,
                             std::stop_token cancel) {
  KDBG_RETURN_IF_ERROR(Prepare(domain));
  // By default it is slowed down, to spare a network.
  Struct unlimited;
  (*unlimited.mutable_fields())["max-bandwidth"].set_number_value(kMaxStateBytes);
  KDBG_RETURN_IF_ERROR(RunQmp(domain, "migrate-set-parameters", unlimited).status());
  KDBG_ASSIGN_OR_RETURN(const StateListener listener, StateListener::Listen(channel));
  KDBG_RETURN_IF_ERROR(RunQmp(domain, "migrate", With("uri", Address(channel))).status());
  const absl::Status received = listener.Receive(file, kMaxStateBytes, kPatience, cancel);
  if (received.ok()) return CheckCompleted(domain, "save");
  // Why it went no further than that is for the caller; that it stops is for the guest.
  RunQmp(domain, "migrate_cancel").status().IgnoreError();
  return received;
}

absl::Status LoadDomainState(virDomainPtr domain, const StateChannel& channel, int file) {
  KDBG_RETURN_IF_ERROR(Prepare(domain));
  KDBG_RETURN_IF_ERROR(RunQmp(domain, "migrate-incoming", With("uri", Address(channel))).status());
  KDBG_RETURN_IF_ERROR(SendState(channel.socket, file, kPatience));
  if (const absl::Status loaded = CheckCompleted(domain, "load"); !loaded.ok()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHypervisorRefused,
                     fmt::format("the machine does not take this state, which is of another shape "
                                 "or emulator, or damaged ({})",
                                 std::string(loaded.message())));
  }
  return absl::OkStatus();
}

}  // namespace kdbg::vm
