// The seam between kdbgd and what runs virtual machines: a handful of calls on domains that are
// ours.
//
// Thread-safe. Calls block on the hypervisor (creating takes about 300 ms, destroying up to 2 s):
// never from a gRPC reaction. Events come on the hypervisor's own thread; a subscriber notes them
// and returns. Domains that are not ours (another name prefix, no metadata of ours) are never
// listed and never touched.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/contract/architecture.h"
#include "server/base/subscribers.h"
#include "server/host/identity.h"

namespace kdbg::vm {

// Every domain of ours is called this plus the session's id.
inline constexpr std::string_view kDomainPrefix = "kdbg-";

enum class Accelerator { kKvm, kTcg };

std::string_view ToString(Accelerator accelerator);  // "kvm", "tcg"

// A file that is a machine's memory, of exactly that size. The guest's uid must be able to open it
// for reading and writing, also where it is only read: sealed memory can be both.
struct MemoryFile {
  enum class Access {
    kShared,   // what the guest writes is in the file
    kPrivate,  // copied on write
  };
  std::filesystem::path path;
  Access access = Access::kPrivate;
};

// A TCP port of the host's loopback, listened on by QEMU, that leads to one of the guest's.
struct PortForward {
  int guest_port = 0;
  int host_port = 0;
};

// A network of the guest's own in its QEMU, restricted: nothing leaves it, to the host neither, but
// the answers on connections that came in by `forwards`. The guest is 10.0.2.15, also by DHCP.
struct UserNetwork {
  std::vector<PortForward> forwards;
};

// A virtio disk with an image's content. What the guest writes is its own and gone with the
// machine: QEMU keeps it in a nameless file, in the directory of the gdb socket.
struct Disk {
  enum class Format { kRaw, kQcow2 };
  std::filesystem::path image;  // without a comma; readable by the guest's uid
  Format format = Format::kRaw;
};

// What a machine begins with: a reset, or the state that LoadState brings.
enum class Beginning { kReset, kLoadedState };

// kElf: a core file, by physical addresses. kKdumpZlib: compressed, for crash.
enum class DumpFormat { kElf, kKdumpZlib };

// kIdle: runs when nobody else wants the processor.
enum class Priority { kNormal, kIdle };

// All that makes one machine. Files are used in place and never given away: QEMU must be able to
// read them.
struct DomainSpec {
  std::string name;   // kDomainPrefix + session id
  std::string uuid;   // lower-case, with dashes; empty: the hypervisor makes one
  std::string owner;  // kept in the domain's metadata
  Architecture architecture = Architecture::kX86_64;
  Accelerator accelerator = Accelerator::kTcg;
  int vcpu_count = 1;
  std::int64_t memory_mib = 256;
  std::filesystem::path kernel;
  std::filesystem::path initramfs;  // empty: none
  std::string command_line;
  // Made by the hypervisor. Every byte of the serial console from byte 0 is appended to the log,
  // read or not; the socket is a live terminal for one client.
  std::filesystem::path console_log;
  std::filesystem::path console_socket;
  std::filesystem::path gdb_socket;      // in a directory that the guest's uid can write to
  std::optional<host::Identity> run_as;  // absent: the hypervisor's own choice
  std::optional<MemoryFile> memory_file = std::nullopt;  // absent: memory of its own
  std::optional<UserNetwork> network = std::nullopt;     // absent: no network device
  std::optional<Disk> disk = std::nullopt;               // absent: none
  std::filesystem::path folder = {};      // read by 9p, readable by the guest's uid; empty: none
  std::vector<std::string> devices = {};  // names of extra_devices.h
  Beginning beginning = Beginning::kReset;
  Priority priority = Priority::kNormal;
};

// Where state passes between kdbgd and the QEMU of one machine, for the length of one call. Nothing
// is there before or after it.
struct StateChannel {
  std::filesystem::path socket;  // SaveState: in a folder of ours; LoadState: in one of the guest's
  std::optional<host::Identity> run_as;  // the machine's
};

enum class DomainState { kPaused, kRunning, kCrashed, kGone };

std::string_view ToString(DomainState state);

struct DomainEvent {
  enum class Kind { kPaused, kResumed, kPanicked, kStopped };
  std::string name;
  Kind kind = Kind::kStopped;
  std::string detail;  // the hypervisor's word for why: "shutdown", "destroyed", "crashed", ...
};

// A domain of ours as the hypervisor knows it.
struct OwnDomain {
  std::string name;
  std::string uuid;
  std::string owner;
  DomainState state = DomainState::kPaused;
};

class Hypervisor {
 public:
  virtual ~Hypervisor() = default;

  // The machine exists with its CPUs not started.
  //   UNAVAILABLE          kHypervisorUnavailable: no connection; try again
  //   ALREADY_EXISTS       a domain of this name
  //   FAILED_PRECONDITION  the hypervisor refused the machine; the text is its own
  virtual absl::Status CreatePaused(const DomainSpec& spec) = 0;

  // OK also when there is no such domain (any more).
  virtual absl::Status Destroy(std::string_view name) = 0;

  virtual absl::StatusOr<DomainState> State(std::string_view name) = 0;
  virtual absl::Status Suspend(std::string_view name) = 0;
  virtual absl::Status Resume(std::string_view name) = 0;
  virtual absl::StatusOr<std::vector<OwnDomain>> ListOwn() = 0;

  // Writes the state of a halted machine to `file`: devices, CPUs, and the memory unless that is a
  // shared MemoryFile. The machine stays halted and can go on.
  //   FAILED_PRECONDITION  kHypervisorRefused: it cannot be saved; the text says why
  //   CANCELLED            by `cancel`
  virtual absl::Status SaveState(std::string_view name, const StateChannel& channel, int file,
                                 std::stop_token cancel) = 0;
  // Brings a machine made with Beginning::kLoadedState where the one was that `file` is from; its
  // CPUs are not started. Only a machine of the same shape and the same emulator can take a state;
  // one that cannot is gone when this fails.
  //   FAILED_PRECONDITION  kHypervisorRefused: the state does not fit
  virtual absl::Status LoadState(std::string_view name, const StateChannel& channel, int file) = 0;
  // Writes the machine's memory, and its registers, to `file`: a new one in a folder of ours. The
  // machine does not run meanwhile and is then as it was.
  virtual absl::Status DumpMemory(std::string_view name, DumpFormat format,
                                  const std::filesystem::path& file) = 0;
  // Which emulator runs guests of `architecture` now; states go from one to the same only.
  virtual absl::StatusOr<std::string> EmulatorVersion(Architecture architecture) = 0;

  using EventListener = std::function<void(const DomainEvent&)>;
  // Events of all domains of ours, until the subscription is dropped.
  [[nodiscard]] virtual Subscription Subscribe(EventListener listener) = 0;

  virtual std::string Uri() const = 0;
  // Whether it can be reached, as far as is known: does not block. UNAVAILABLE
  // (kHypervisorUnavailable).
  virtual absl::Status Health() const = 0;
};

}  // namespace kdbg::vm
