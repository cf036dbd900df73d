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

  using EventListener = std::function<void(const DomainEvent&)>;
  // Events of all domains of ours, until the subscription is dropped.
  [[nodiscard]] virtual Subscription Subscribe(EventListener listener) = 0;

  virtual std::string Uri() const = 0;
};

}  // namespace kdbg::vm
