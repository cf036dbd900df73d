// One running guest: its machine, its one stub connection, its console. Knows no users and no
// leases.
//
// Life: Create (or Clone, or Adopt after a restart) -> RunToStopPoint -> lives on -> Destroy. The
// calls block for as long as they say; they may come from any thread, one at a time (accessors at
// any time). The destructor lets go of the machine and leaves it running, so that the next daemon
// adopts it; Destroy ends it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/contract/architecture.h"
#include "proto/support/unique_fd.h"
#include "server/base/subscribers.h"
#include "server/guest/command_line.h"
#include "server/guest/console_input.h"
#include "server/guest/console_log.h"
#include "server/guest/io_watcher.h"
#include "server/host/identity.h"
#include "server/vm/hypervisor.h"

namespace kdbg::gdb {
class IoThread;
class StubLink;
enum class CpuState;
}  // namespace kdbg::gdb

namespace kdbg::guest {

// What the init of our own initramfs prints just before its shell.
inline constexpr std::string_view kReadyMarker = "kdbg: userspace is up";

// Where the guest waits when it is ready.
struct StopAtSymbol {
  std::string symbol = "start_kernel";
};
struct StopAtShell {};  // user space is up
struct StopAtReset {};  // before the first instruction
struct StopNowhere {};  // runs on
using StopPoint = std::variant<StopAtSymbol, StopAtShell, StopAtReset, StopNowhere>;

// How one knows that user space is up.
enum class ReadySign {
  kMarkerLine,            // our own init: prints kReadyMarker
  kFirstUserInstruction,  // anybody else's: its first user-mode instruction
};

struct GuestSpec {
  std::string id;     // "vm-k3v9x2"
  std::string owner;  // kept with the machine
  Architecture architecture = Architecture::kX86_64;
  vm::Accelerator accelerator = vm::Accelerator::kTcg;
  int vcpu_count = 1;
  std::int64_t memory_mib = 256;
  std::filesystem::path kernel_image;
  std::filesystem::path system_map;  // may be empty: then no stop by symbol
  std::filesystem::path initramfs;   // may be empty: none
  ReadySign ready_sign = ReadySign::kMarkerLine;
  BaseAddress base_address = BaseAddress::kLinked;
  std::string command_line;  // from ComposeCommandLine
  std::optional<host::Identity> run_as;
  std::filesystem::path directory;  // the guest's own: made by Create, emptied by Destroy
  std::optional<vm::MemoryFile> memory_file = std::nullopt;  // absent: memory of its own
  vm::Priority priority = vm::Priority::kNormal;
  std::optional<vm::UserNetwork> network = std::nullopt;  // absent: no network device
  std::optional<vm::Disk> disk = std::nullopt;            // absent: none
  std::filesystem::path folder = {};                      // that it may read; empty: none
  std::vector<std::string> devices = {};                  // vm/extra_devices.h
};

// A machine at rest, from which any number of guests of its shape can go on.
struct MachineImage {
  std::filesystem::path state;           // from Guest::Save
  std::optional<vm::MemoryFile> memory;  // absent: in `state`
  std::filesystem::path console;  // what it had printed; may be empty: nothing is known of that
};

// What guests share and borrow; all of it outlives them.
struct GuestHost {
  vm::Hypervisor& hypervisor;
  gdb::IoThread& io_thread;
  IoWatcher& watcher;
};

struct GuestEvent {
  enum class Kind { kPanicked, kExited, kPaused, kResumed };
  Kind kind = Kind::kExited;
  std::string detail;
};
// Called from the hypervisor's thread: note it and return.
using GuestListener = std::function<void(const GuestEvent&)>;

struct StopReport {
  enum class CpuState { kHalted, kRunning };
  CpuState cpu_state = CpuState::kHalted;
  std::string stopped_at;  // "start_kernel", "shell", "reset"; empty when it runs
};

// The path of the console log in a guest's directory.
std::filesystem::path ConsoleLogPath(const std::filesystem::path& directory);

// Whether `status`, from RunToStopPoint, is the guest's own fault (it panicked, exited, never came
// so far) rather than the host's or the caller's.
bool IsGuestFault(const absl::Status& status);

class Guest {
 public:
  // The machine is made, its CPUs not started, its stub connected. Leaves nothing behind when it
  // fails. About 300 ms; errors as vm::Hypervisor::CreatePaused.
  static absl::StatusOr<std::unique_ptr<Guest>> Create(const GuestSpec& spec, const GuestHost& host,
                                                       GuestListener listener);
  // The same, but the machine is where that of `image` was, and has printed what it had. Identity
  // and random seed (where the kernel knows of generations) are its own. Errors also as
  // vm::Hypervisor::LoadState.
  static absl::StatusOr<std::unique_ptr<Guest>> Clone(const GuestSpec& spec,
                                                      const MachineImage& image,
                                                      const GuestHost& host,
                                                      GuestListener listener);
  // Takes over a machine that an earlier daemon left; it goes on running or waiting as it was. A
  // panic nobody was there to see is an event once more. Of `spec`, the id, the directory and what
  // RunToStopPoint needs are read.
  //   NOT_FOUND  kVmLost: the machine is gone; the directory is kept for Remove
  static absl::StatusOr<std::unique_ptr<Guest>> Adopt(const GuestSpec& spec, const GuestHost& host,
                                                      GuestListener listener);
  // Ends the machine and keeps the directory: with a Create after it the guest starts over, and its
  // console log goes on. Up to 2 s.
  static absl::Status EndMachine(const GuestSpec& spec, const GuestHost& host);
  // Removes what a guest that is gone left behind: its machine if there is one, its directory.
  static absl::Status Remove(const GuestSpec& spec, const GuestHost& host);

  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;

  // Blocks until the guest is where `stop` says, at most `timeout`, or `cancel`. No breakpoint is
  // left behind.
  //   NOT_FOUND            kSymbolNotFound: not in System.map
  //   FAILED_PRECONDITION  a symbol and a randomized base exclude each other
  //   ABORTED              kGuestPanicked, kGuestExited: before the stop point; metadata console:
  //   its last lines DEADLINE_EXCEEDED    kBootTimedOut: likewise; the guest is left halted
  //   CANCELLED            by `cancel`; the guest is left halted
  //   UNAVAILABLE          kVmLost: the stub is gone although the guest is not
  absl::StatusOr<StopReport> RunToStopPoint(const StopPoint& stop, absl::Duration timeout,
                                            std::stop_token cancel);

  // Writes what `image.state` of a Clone is to an empty file. The guest must be halted and stays
  // so.
  //   FAILED_PRECONDITION  kWrongState: it runs; else as vm::Hypervisor::SaveState
  absl::Status Save(int file, std::stop_token cancel);

  // Its memory, as a file without a name; the guest must be halted and stays so.
  //   FAILED_PRECONDITION  kWrongState: it runs; else as vm::Hypervisor::DumpMemory
  absl::StatusOr<UniqueFd> DumpMemory(vm::DumpFormat format);

  // From now on events go to `listener`; those between are lost, but a machine that is gone tells
  // by its stub link.
  void Listen(GuestListener listener);

  // Ends the machine and removes the directory; up to 2 s. Idempotent. An open console log can
  // still be read.
  absl::Status Destroy();

  // Whether there is a machine: one hears of the end of its predecessor later, too.
  bool HasMachine() const;

  const GuestSpec& spec() const { return spec_; }
  std::shared_ptr<gdb::StubLink> stub_link() const { return stub_link_; }
  std::shared_ptr<ConsoleLog> console() const { return console_; }
  // Connected at first use.
  absl::StatusOr<std::shared_ptr<ConsoleInput>> console_input();

 private:
  Guest(GuestSpec spec, const GuestHost& host);
  static absl::StatusOr<std::unique_ptr<Guest>> Begin(const GuestSpec& spec,
                                                      const MachineImage* image,
                                                      const GuestHost& host,
                                                      GuestListener listener);
  absl::Status MakeAtReset();
  absl::Status MakeFrom(const MachineImage& image);
  absl::Status CheckHalted(std::string_view what) const;
  absl::Status AttachTo(gdb::CpuState state, GuestListener listener);

  const GuestSpec spec_;
  const GuestHost host_;
  std::shared_ptr<gdb::StubLink> stub_link_;
  std::shared_ptr<ConsoleLog> console_;
  absl::Mutex input_mutex_;
  std::shared_ptr<ConsoleInput> console_input_ ABSL_GUARDED_BY(input_mutex_);
  Subscription events_;
};

}  // namespace kdbg::guest
