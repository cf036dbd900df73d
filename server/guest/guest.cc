#include "server/guest/guest.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "server/base/ids.h"
#include "server/gdb/io_thread.h"
#include "server/gdb/stub_link.h"
#include "server/guest/boot_run.h"
#include "server/guest/core_file.h"
#include "server/guest/saved_state.h"

namespace kdbg::guest {
namespace {

std::string DomainName(const GuestSpec& spec) { return std::string(vm::kDomainPrefix) + spec.id; }

std::filesystem::path ConsoleSocketPath(const std::filesystem::path& directory) {
  return directory / "console.sock";
}

// QEMU itself makes this socket and so must be able to write to the directory around it, which
// therefore holds nothing else: what we or libvirt open as root must not be replaceable by the
// guest's uid.
std::filesystem::path StubDirectory(const std::filesystem::path& directory) {
  return directory / "stub";
}
std::filesystem::path StubSocketPath(const std::filesystem::path& directory) {
  return StubDirectory(directory) / "gdb.sock";
}

absl::Status MakeGuestDirectories(const GuestSpec& spec) {
  if (ConsoleSocketPath(spec.directory).native().size() >= sizeof(sockaddr_un{}.sun_path)) {
    return InvalidField("state_dir", spec.directory.string(),
                        "the path is too long for sockets in it; choose a shorter state directory");
  }
  KDBG_RETURN_IF_ERROR(MakeDirectories(spec.directory, 0711));
  const std::filesystem::path stub = StubDirectory(spec.directory);
  KDBG_RETURN_IF_ERROR(MakeDirectories(stub, 0700));
  if (spec.run_as && ::chown(stub.c_str(), spec.run_as->uid, spec.run_as->gid) != 0) {
    return ErrnoError(errno, fmt::format("give {} to the guest's uid", stub.string()));
  }
  return absl::OkStatus();
}

absl::Status RemoveDirectory(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::remove_all(directory, error);
  if (!error) return absl::OkStatus();
  return ErrnoError(error.value(), fmt::format("remove {}", directory.string()));
}

// In our own directory, where only the listening daemon makes sockets.
vm::StateChannel OutgoingState(const GuestSpec& spec) {
  return {.socket = spec.directory / "state.sock", .run_as = spec.run_as};
}
// QEMU makes this one.
vm::StateChannel IncomingState(const GuestSpec& spec) {
  return {.socket = StubDirectory(spec.directory) / "state.sock", .run_as = spec.run_as};
}

vm::DomainSpec ToDomainSpec(const GuestSpec& spec) {
  return {.name = DomainName(spec),
          .uuid = "",
          .owner = spec.owner,
          .architecture = spec.architecture,
          .accelerator = spec.accelerator,
          .vcpu_count = spec.vcpu_count,
          .memory_mib = spec.memory_mib,
          .kernel = spec.kernel_image,
          .initramfs = spec.initramfs,
          .command_line = spec.command_line,
          .console_log = ConsoleLogPath(spec.directory),
          .console_socket = ConsoleSocketPath(spec.directory),
          .gdb_socket = StubSocketPath(spec.directory),
          .run_as = spec.run_as,
          .memory_file = spec.memory_file,
          .network = spec.network,
          .disk = spec.disk,
          .folder = spec.folder,
          .devices = spec.devices,
          .beginning = vm::Beginning::kReset,
          .priority = spec.priority};
}

GuestEvent::Kind ToGuestEvent(vm::DomainEvent::Kind kind) {
  switch (kind) {
    case vm::DomainEvent::Kind::kPaused:
      return GuestEvent::Kind::kPaused;
    case vm::DomainEvent::Kind::kResumed:
      return GuestEvent::Kind::kResumed;
    case vm::DomainEvent::Kind::kPanicked:
      return GuestEvent::Kind::kPanicked;
    case vm::DomainEvent::Kind::kStopped:
      break;
  }
  return GuestEvent::Kind::kExited;
}

}  // namespace

std::filesystem::path ConsoleLogPath(const std::filesystem::path& directory) {
  return directory / "console.log";
}

bool IsGuestFault(const absl::Status& status) {
  return HasReason(status, Reason::kGuestPanicked) || HasReason(status, Reason::kGuestExited) ||
         HasReason(status, Reason::kBootTimedOut);
}

absl::StatusOr<std::unique_ptr<Guest>> Guest::Create(const GuestSpec& spec, const GuestHost& host,
                                                     GuestListener listener) {
  return Begin(spec, nullptr, host, std::move(listener));
}

absl::StatusOr<std::unique_ptr<Guest>> Guest::Clone(const GuestSpec& spec,
                                                    const MachineImage& image,
                                                    const GuestHost& host, GuestListener listener) {
  return Begin(spec, &image, host, std::move(listener));
}

absl::StatusOr<std::unique_ptr<Guest>> Guest::Begin(const GuestSpec& spec,
                                                    const MachineImage* image,
                                                    const GuestHost& host, GuestListener listener) {
  std::unique_ptr<Guest> guest(new Guest(spec, host));
  std::error_code error;
  const bool again = std::filesystem::exists(ConsoleLogPath(spec.directory), error);
  absl::Status made = MakeGuestDirectories(spec);
  if (made.ok()) made = image == nullptr ? guest->MakeAtReset() : guest->MakeFrom(*image);
  if (made.ok()) made = guest->AttachTo(gdb::CpuState::kHalted, std::move(listener));
  if (made.ok()) return guest;
  guest.reset();
  // The first failure is the one to tell. What an earlier machine left is its console.
  (again ? EndMachine(spec, host) : Remove(spec, host)).IgnoreError();
  return made;
}

absl::Status Guest::MakeAtReset() { return host_.hypervisor.CreatePaused(ToDomainSpec(spec_)); }

absl::Status Guest::MakeFrom(const MachineImage& image) {
  if (!image.console.empty()) {
    KDBG_RETURN_IF_ERROR(CopyConsole(image.console, ConsoleLogPath(spec_.directory)));
  }
  vm::DomainSpec domain = ToDomainSpec(spec_);
  domain.memory_file = image.memory;
  domain.beginning = vm::Beginning::kLoadedState;
  const UniqueFd state(::open(image.state.c_str(), O_RDONLY | O_CLOEXEC));
  if (!state) return ErrnoError(errno, fmt::format("open {}", image.state.string()));
  KDBG_RETURN_IF_ERROR(host_.hypervisor.CreatePaused(domain));
  return host_.hypervisor.LoadState(domain.name, IncomingState(spec_), state.get());
}

absl::StatusOr<std::unique_ptr<Guest>> Guest::Adopt(const GuestSpec& spec, const GuestHost& host,
                                                    GuestListener listener) {
  KDBG_ASSIGN_OR_RETURN(const vm::DomainState state, host.hypervisor.State(DomainName(spec)));
  if (state == vm::DomainState::kGone) {
    return MakeError(absl::StatusCode::kNotFound, Reason::kVmLost,
                     fmt::format("the machine of {} is gone; create a new session", spec.id));
  }
  std::unique_ptr<Guest> guest(new Guest(spec, host));
  KDBG_RETURN_IF_ERROR(guest->AttachTo(
      state == vm::DomainState::kRunning ? gdb::CpuState::kRunning : gdb::CpuState::kHalted,
      listener));
  if (state == vm::DomainState::kCrashed && listener) {
    listener({.kind = GuestEvent::Kind::kPanicked, .detail = "while no daemon was there"});
  }
  return guest;
}

absl::Status Guest::EndMachine(const GuestSpec& spec, const GuestHost& host) {
  return host.hypervisor.Destroy(DomainName(spec));
}

absl::Status Guest::Remove(const GuestSpec& spec, const GuestHost& host) {
  KDBG_RETURN_IF_ERROR(EndMachine(spec, host));
  return RemoveDirectory(spec.directory);
}

Guest::Guest(GuestSpec spec, const GuestHost& host) : spec_(std::move(spec)), host_(host) {}

Guest::~Guest() = default;

void Guest::Listen(GuestListener listener) {
  events_ = host_.hypervisor.Subscribe(
      [name = DomainName(spec_), listener = std::move(listener)](const vm::DomainEvent& event) {
        if (event.name == name && listener) {
          listener(GuestEvent{.kind = ToGuestEvent(event.kind), .detail = event.detail});
        }
      });
}

absl::Status Guest::AttachTo(gdb::CpuState state, GuestListener listener) {
  Listen(std::move(listener));
  KDBG_ASSIGN_OR_RETURN(console_, ConsoleLog::Open(ConsoleLogPath(spec_.directory), host_.watcher));
  KDBG_ASSIGN_OR_RETURN(
      stub_link_, gdb::StubLink::Connect(host_.io_thread, StubSocketPath(spec_.directory), state));
  return absl::OkStatus();
}

absl::StatusOr<StopReport> Guest::RunToStopPoint(const StopPoint& stop, absl::Duration timeout,
                                                 std::stop_token cancel) {
  BootRun run(spec_, host_.hypervisor, *stub_link_, *console_, timeout, std::move(cancel));
  return run.To(stop);
}

bool Guest::HasMachine() const {
  const auto state = host_.hypervisor.State(DomainName(spec_));
  return state.ok() && *state != vm::DomainState::kGone;
}

absl::Status Guest::CheckHalted(std::string_view what) const {
  if (!stub_link_->running()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                   fmt::format("a guest that runs cannot be {}; pause it first", what));
}

absl::StatusOr<UniqueFd> Guest::DumpMemory(vm::DumpFormat format) {
  KDBG_RETURN_IF_ERROR(CheckHalted("dumped"));
  const std::filesystem::path file = spec_.directory / NewId("dump");
  const absl::Cleanup remove = [&file] {
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
  };
  KDBG_RETURN_IF_ERROR(host_.hypervisor.DumpMemory(DomainName(spec_), format, file));
  UniqueFd dump(::open(file.c_str(), O_RDWR | O_CLOEXEC));
  if (!dump) return ErrnoError(errno, fmt::format("open {}", file.string()));
  if (format == vm::DumpFormat::kElf) KDBG_RETURN_IF_ERROR(AddKernelAddresses(dump.get()));
  return dump;
}

absl::Status Guest::Save(int file, std::stop_token cancel) {
  KDBG_RETURN_IF_ERROR(CheckHalted("saved"));
  KDBG_RETURN_IF_ERROR(
      host_.hypervisor.SaveState(DomainName(spec_), OutgoingState(spec_), file, std::move(cancel)));
  return MarkPaused(file);
}

absl::Status Guest::Destroy() { return Remove(spec_, host_); }

absl::StatusOr<std::shared_ptr<ConsoleInput>> Guest::console_input() {
  absl::MutexLock lock(&input_mutex_);
  if (console_input_ == nullptr) {
    KDBG_ASSIGN_OR_RETURN(console_input_,
                          ConsoleInput::Connect(ConsoleSocketPath(spec_.directory), host_.watcher));
  }
  return console_input_;
}

}  // namespace kdbg::guest
