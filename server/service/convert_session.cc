#include "server/service/convert_session.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"
#include "server/service/convert_common.h"
#include "server/vm/extra_devices.h"

namespace kdbg::service {
namespace {

constexpr std::size_t kMaxArgumentBytes = 1024;
constexpr std::size_t kMaxSymbolBytes = 512;
constexpr std::size_t kMaxUserBytes = 256;
constexpr int kMaxForwards = 8;

v1::Session::State StateOf(session::SessionState state) {
  switch (state) {
    case session::SessionState::kCreating:
      return v1::Session::CREATING;
    case session::SessionState::kBooting:
      return v1::Session::BOOTING;
    case session::SessionState::kReady:
      return v1::Session::READY;
    case session::SessionState::kEnding:
      return v1::Session::ENDING;
    case session::SessionState::kEnded:
      return v1::Session::ENDED;
    case session::SessionState::kCrashed:
      return v1::Session::CRASHED;
    case session::SessionState::kFailed:
      return v1::Session::FAILED;
    case session::SessionState::kQueued:
      return v1::Session::QUEUED;
  }
  return v1::Session::STATE_UNSPECIFIED;
}

v1::Session::RunState RunStateOf(session::RunState state) {
  switch (state) {
    case session::RunState::kUnknown:
      return v1::Session::RUN_STATE_UNSPECIFIED;
    case session::RunState::kHalted:
      return v1::Session::HALTED;
    case session::RunState::kRunning:
      return v1::Session::RUNNING;
  }
  return v1::Session::RUN_STATE_UNSPECIFIED;
}

v1::Session::Origin OriginOf(session::Origin origin) {
  switch (origin) {
    case session::Origin::kUnknown:
      return v1::Session::ORIGIN_UNSPECIFIED;
    case session::Origin::kCold:
      return v1::Session::COLD;
    case session::Origin::kCloned:
      return v1::Session::CLONED;
    case session::Origin::kWarm:
      return v1::Session::WARM;
    case session::Origin::kRestored:
      return v1::Session::RESTORED;
  }
  return v1::Session::ORIGIN_UNSPECIFIED;
}

v1::Session::OnPanic OnPanicOf(session::OnPanic order) {
  switch (order) {
    case session::OnPanic::kStay:
      return v1::Session::STAY;
    case session::OnPanic::kDump:
      return v1::Session::DUMP;
    case session::OnPanic::kReset:
      return v1::Session::RESET;
  }
  return v1::Session::ON_PANIC_UNSPECIFIED;
}

v1::Session::OnExpiry OnExpiryOf(session::OnExpiry order) {
  switch (order) {
    case session::OnExpiry::kEnd:
      return v1::Session::END;
    case session::OnExpiry::kDump:
      return v1::Session::DUMP_AND_END;
  }
  return v1::Session::ON_EXPIRY_UNSPECIFIED;
}

v1::Failure::Fault FaultOf(session::Fault fault) {
  switch (fault) {
    case session::Fault::kSubject:
      return v1::Failure::FAULT_SUBJECT;
    case session::Fault::kCaller:
      return v1::Failure::FAULT_CALLER;
    case session::Fault::kHost:
      return v1::Failure::FAULT_HOST;
  }
  return v1::Failure::FAULT_UNSPECIFIED;
}

v1::GuestShape::Accelerator AcceleratorOf(session::AcceleratorChoice choice) {
  switch (choice) {
    case session::AcceleratorChoice::kAuto:
      return v1::GuestShape::ACCELERATOR_UNSPECIFIED;
    case session::AcceleratorChoice::kKvm:
      return v1::GuestShape::KVM;
    case session::AcceleratorChoice::kTcg:
      return v1::GuestShape::TCG;
  }
  return v1::GuestShape::ACCELERATOR_UNSPECIFIED;
}

v1::GuestShape ShapeOf(const session::SessionRequest& request) {
  v1::GuestShape shape;
  shape.set_vcpu_count(request.vcpu_count);
  shape.set_memory_mib(request.memory_mib);
  shape.set_accelerator(AcceleratorOf(request.accelerator));
  shape.set_randomize_base(request.randomize_base);
  return shape;
}

v1::StopPoint StopPointOf(const session::StopChoice& choice) {
  v1::StopPoint point;
  if (const auto* symbol = std::get_if<session::SymbolStop>(&choice)) {
    point.set_symbol(ValidUtf8(symbol->symbol));
  } else if (std::holds_alternative<session::ShellStop>(choice)) {
    point.set_shell(true);
  } else if (std::holds_alternative<session::ResetStop>(choice)) {
    point.set_reset(true);
  } else {
    point.set_none(true);
  }
  return point;
}

void SetLife(const session::SessionRecord& record, v1::Session* message) {
  message->set_name(ResourceName(kSessions, record.id));
  message->set_owner(record.owner);
  message->set_state(StateOf(record.state));
  message->set_run_state(RunStateOf(record.run_state));
  *message->mutable_shape() = ShapeOf(record.request);
  message->set_accelerator(record.accelerator);
  message->set_end_reason(record.end_reason);
  message->set_queue_place(record.queue_place);
  Set(record.create_time, message->mutable_create_time());
  if (record.ready_time) Set(*record.ready_time, message->mutable_ready_time());
  Set(record.expire_time, message->mutable_expire_time());
  if (record.end_time) Set(*record.end_time, message->mutable_end_time());
}

v1::Network NetworkOf(const vm::UserNetwork& network) {
  v1::Network message;
  for (const vm::PortForward& forward : network.forwards) {
    v1::Network::Forward& shown = *message.add_forwards();
    shown.set_guest_port(forward.guest_port);
    if (forward.host_port == 0) continue;  // it has not started
    shown.set_host("127.0.0.1");
    shown.set_port(forward.host_port);
  }
  return message;
}

void SetInputs(const session::SessionRequest& request, v1::Session* message) {
  if (!request.kernel_build.empty()) {
    message->set_kernel(ResourceName(kBuilds, request.kernel_build));
  }
  message->set_initramfs(
      request.initramfs_build.empty() ? "none" : ResourceName(kBuilds, request.initramfs_build));
  message->set_kernel_artifact(ResourceName(kArtifacts, request.kernel_artifact));
  if (!request.initramfs_artifact.empty()) {
    message->set_initramfs_artifact(ResourceName(kArtifacts, request.initramfs_artifact));
  }
  if (!request.saved_state.empty()) {
    message->set_saved_state(ResourceName(kArtifacts, request.saved_state));
  }
  *message->mutable_stop_point() = StopPointOf(request.stop);
  message->set_kernel_arguments(ValidUtf8(request.kernel_arguments));
  if (request.network) *message->mutable_network() = NetworkOf(*request.network);
  if (!request.disk_image.empty()) message->mutable_disk()->set_image(request.disk_image);
  if (!request.folder_upload.empty()) {
    message->mutable_folder()->set_upload(ResourceName(kUploads, request.folder_upload));
  }
  for (const std::string& device : request.devices) message->add_devices(device);
  message->set_on_panic(OnPanicOf(request.on_panic));
  message->set_on_expiry(OnExpiryOf(request.on_expiry));
  if (request.ttl) Set(*request.ttl, message->mutable_ttl());
}

absl::StatusOr<session::OnPanic> OnPanicFrom(v1::Session::OnPanic order) {
  switch (order) {
    case v1::Session::ON_PANIC_UNSPECIFIED:
    case v1::Session::STAY:
      return session::OnPanic::kStay;
    case v1::Session::DUMP:
      return session::OnPanic::kDump;
    case v1::Session::RESET:
      return session::OnPanic::kReset;
    default:
      return InvalidField("session.on_panic", std::to_string(order),
                          "session.on_panic must be STAY, DUMP or RESET, or left out");
  }
}

absl::StatusOr<session::OnExpiry> OnExpiryFrom(v1::Session::OnExpiry order) {
  switch (order) {
    case v1::Session::ON_EXPIRY_UNSPECIFIED:
    case v1::Session::END:
      return session::OnExpiry::kEnd;
    case v1::Session::DUMP_AND_END:
      return session::OnExpiry::kDump;
    default:
      return InvalidField("session.on_expiry", std::to_string(order),
                          "session.on_expiry must be END or DUMP_AND_END, or left out");
  }
}

absl::StatusOr<session::StopChoice> StopFrom(const v1::StopPoint& point) {
  switch (point.point_case()) {
    case v1::StopPoint::kSymbol:
      if (point.symbol().empty() || point.symbol().size() > kMaxSymbolBytes) {
        return InvalidField("session.stop_point.symbol", point.symbol().substr(0, 128),
                            "session.stop_point.symbol must name a function of the kernel");
      }
      return session::SymbolStop{point.symbol()};
    case v1::StopPoint::kShell:
      return session::ShellStop{};
    case v1::StopPoint::kReset:
      return session::ResetStop{};
    case v1::StopPoint::kNone:
      return session::NoStop{};
    case v1::StopPoint::POINT_NOT_SET:
      break;
  }
  return session::SymbolStop{};
}

absl::StatusOr<std::vector<std::string>> DevicesFrom(const v1::Session& wanted) {
  std::vector<std::string> devices;
  for (const std::string& name : wanted.devices()) {
    if (vm::FindExtraDevice(name) == nullptr) {
      std::vector<std::string_view> names;
      for (const vm::ExtraDevice& device : vm::ExtraDevices()) names.push_back(device.name);
      return InvalidField("session.devices", ShortUtf8(name, 64),
                          fmt::format("no such device: there are {}", fmt::join(names, ", ")));
    }
    if (std::find(devices.begin(), devices.end(), name) != devices.end()) {
      return InvalidField("session.devices", name,
                          fmt::format("{} is asked for twice: name it once", name));
    }
    devices.push_back(name);
  }
  return devices;
}

absl::StatusOr<vm::UserNetwork> NetworkFrom(const v1::Network& network) {
  if (network.forwards_size() > kMaxForwards) {
    return InvalidField(
        "session.network.forwards", std::to_string(network.forwards_size()),
        fmt::format("a session forwards at most {} ports: ask for fewer", kMaxForwards));
  }
  vm::UserNetwork result;
  std::set<int> seen;
  for (const v1::Network::Forward& forward : network.forwards()) {
    const int port = forward.guest_port();
    if (port < 1 || port > 65535) {
      return InvalidField("session.network.forwards.guest_port", std::to_string(port),
                          "a port of the guest is between 1 and 65535");
    }
    if (!seen.insert(port).second) {
      return InvalidField("session.network.forwards.guest_port", std::to_string(port),
                          fmt::format("port {} is forwarded twice: name it once", port));
    }
    result.forwards.push_back({.guest_port = port, .host_port = 0});
  }
  return result;
}

absl::StatusOr<session::AcceleratorChoice> AcceleratorFrom(v1::GuestShape::Accelerator choice) {
  switch (choice) {
    case v1::GuestShape::ACCELERATOR_UNSPECIFIED:
      return session::AcceleratorChoice::kAuto;
    case v1::GuestShape::KVM:
      return session::AcceleratorChoice::kKvm;
    case v1::GuestShape::TCG:
      return session::AcceleratorChoice::kTcg;
    default:
      return InvalidField("session.shape.accelerator", std::to_string(choice),
                          "session.shape.accelerator must be KVM or TCG, or left out");
  }
}

}  // namespace

v1::Session ToMessage(const session::SessionRecord& record) {
  v1::Session message;
  SetLife(record, &message);
  SetInputs(record.request, &message);
  if (record.failure) {
    *message.mutable_failure() = MakeFailure(FaultOf(record.failure->fault), record.failure->reason,
                                             record.failure->message, record.failure->excerpt);
  }
  message.mutable_gdb()->set_host(record.gdb_host);
  message.mutable_gdb()->set_port(record.gdb_port);
  message.mutable_gdb()->set_holder(record.gdb_holder);
  message.set_command_line(ValidUtf8(record.command_line));
  message.set_console_size_bytes(record.console_size_bytes);
  message.set_stopped_at(ValidUtf8(record.stopped_at));
  message.set_origin(OriginOf(record.origin));
  message.set_expires_soon(record.expires_soon);
  if (!record.last_dump.empty()) {
    message.set_last_dump(ResourceName(kArtifacts, record.last_dump));
  }
  message.set_dump_failure(ValidUtf8(record.dump_failure));
  for (const session::SessionShare& share : record.shares) {
    v1::Session::Share& shown = *message.add_shares();
    shown.set_user(share.user);
    shown.set_access(share.access == session::SessionShare::Access::kControl
                         ? v1::Session::Share::CONTROL
                         : v1::Session::Share::READ);
  }
  Set(record.create_duration, message.mutable_start_times()->mutable_create());
  Set(record.boot_duration, message.mutable_start_times()->mutable_boot());
  return message;
}

v1::Session ToStrangersMessage(const session::SessionRecord& record) {
  v1::Session message;
  SetLife(record, &message);
  return message;
}

absl::StatusOr<session::SessionShare> ShareFrom(const v1::Session::Share& share) {
  using Access = session::SessionShare::Access;
  if (share.user().empty() || share.user().size() > kMaxUserBytes) {
    return InvalidField("share.user", share.user().substr(0, 64), "name the colleague's account");
  }
  switch (share.access()) {
    case v1::Session::Share::NONE:
      return session::SessionShare{share.user(), Access::kNone};
    case v1::Session::Share::READ:
      return session::SessionShare{share.user(), Access::kRead};
    case v1::Session::Share::CONTROL:
      return session::SessionShare{share.user(), Access::kControl};
    default:
      return InvalidField("share.access", std::to_string(share.access()),
                          "share.access must be READ, CONTROL or NONE");
  }
}

absl::StatusOr<session::Sessions::RestoreRequest> RestoreFrom(
    const v1::RestoreSessionRequest& request) {
  session::Sessions::RestoreRequest result;
  KDBG_ASSIGN_OR_RETURN(result.artifact,
                        ParseResourceName(kArtifacts, request.artifact(), "artifact"));
  KDBG_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  result.request_id = request.request_id();
  if (request.has_ttl()) {
    KDBG_ASSIGN_OR_RETURN(result.ttl, PositiveDuration(request.ttl(), "ttl"));
  }
  return result;
}

absl::StatusOr<vm::DumpFormat> DumpFormatFrom(v1::DumpSessionRequest::Format format) {
  switch (format) {
    case v1::DumpSessionRequest::FORMAT_UNSPECIFIED:
    case v1::DumpSessionRequest::ELF:
      return vm::DumpFormat::kElf;
    case v1::DumpSessionRequest::KDUMP_ZLIB:
      return vm::DumpFormat::kKdumpZlib;
    default:
      return InvalidField("format", std::to_string(format),
                          "format must be ELF or KDUMP_ZLIB, or left out");
  }
}

absl::StatusOr<session::SessionRequest> RequestOf(const v1::CreateSessionRequest& request) {
  const v1::Session& wanted = request.session();
  session::SessionRequest result;
  KDBG_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  result.request_id = request.request_id();
  if (wanted.shape().vcpu_count() < 0) {
    return InvalidField("session.shape.vcpu_count", std::to_string(wanted.shape().vcpu_count()),
                        "session.shape.vcpu_count is negative: 1 is the default");
  }
  result.vcpu_count = wanted.shape().vcpu_count();
  if (wanted.shape().has_memory_mib()) {
    // Not -1, which is our own word for the default.
    result.memory_mib = std::max<std::int64_t>(wanted.shape().memory_mib(), 0);
  }
  KDBG_ASSIGN_OR_RETURN(result.accelerator, AcceleratorFrom(wanted.shape().accelerator()));
  result.randomize_base = wanted.shape().randomize_base();
  KDBG_ASSIGN_OR_RETURN(result.stop, StopFrom(wanted.stop_point()));
  KDBG_RETURN_IF_ERROR(
      CheckSize("session.kernel_arguments", wanted.kernel_arguments().size(), kMaxArgumentBytes));
  result.kernel_arguments = wanted.kernel_arguments();
  if (wanted.has_network()) {
    KDBG_ASSIGN_OR_RETURN(result.network, NetworkFrom(wanted.network()));
  }
  if (wanted.has_disk()) {
    if (wanted.disk().image().empty()) {
      return InvalidField("session.disk.image", "", "session.disk needs the name of an image");
    }
    result.disk_image = wanted.disk().image();
  }
  if (wanted.has_folder()) {
    KDBG_ASSIGN_OR_RETURN(
        result.folder_upload,
        ParseResourceName(kUploads, wanted.folder().upload(), "session.folder.upload"));
  }
  KDBG_ASSIGN_OR_RETURN(result.devices, DevicesFrom(wanted));
  KDBG_ASSIGN_OR_RETURN(result.on_panic, OnPanicFrom(wanted.on_panic()));
  KDBG_ASSIGN_OR_RETURN(result.on_expiry, OnExpiryFrom(wanted.on_expiry()));
  if (wanted.has_ttl()) {
    KDBG_ASSIGN_OR_RETURN(result.ttl, PositiveDuration(wanted.ttl(), "session.ttl"));
  }
  return result;
}

}  // namespace kdbg::service
