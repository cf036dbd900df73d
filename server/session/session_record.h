// A session as the outside sees it: a plain snapshot, never a live pointer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "server/vm/hypervisor.h"

namespace kdbg::session {

// Stored as numbers: new ones at the end.
enum class SessionState {
  kCreating,
  kBooting,
  kReady,
  kEnding,
  kEnded,
  kCrashed,
  kFailed,
  kQueued
};
enum class RunState { kUnknown, kHalted, kRunning };
enum class AcceleratorChoice { kAuto, kKvm, kTcg };
enum class Fault { kSubject, kCaller, kHost };

// How the guest came to its stop point. Stored as numbers: new ones at the end.
enum class Origin {
  kUnknown,   // it has not yet
  kCold,      // it booted
  kCloned,    // made as a clone of one that had
  kWarm,      // likewise, ahead of the request
  kRestored,  // from a saved state
};

// What a session does by itself. Stored as numbers: new ones at the end.
enum class OnPanic { kStay, kDump, kReset };
enum class OnExpiry { kEnd, kDump };

inline bool IsFinal(SessionState state) {
  return state == SessionState::kEnded || state == SessionState::kFailed;
}

struct SymbolStop {
  std::string symbol = "start_kernel";
};
struct ShellStop {};
struct ResetStop {};
struct NoStop {};
using StopChoice = std::variant<SymbolStop, ShellStop, ResetStop, NoStop>;

struct SessionFailure {
  Fault fault = Fault::kHost;
  std::string reason;  // ReasonName of proto/contract/error.h
  std::string message;
  std::string excerpt;  // the last console lines
};

// What the owner lets a colleague do with a session.
struct SessionShare {
  enum class Access { kNone, kRead, kControl };
  std::string user;
  Access access = Access::kNone;
};

// Not 0: somebody who asks for no memory must hear that this is not possible.
inline constexpr std::int64_t kDefaultMemory = -1;

// What a caller asks for; empty, and 0 for the CPUs, mean the default.
struct SessionRequest {
  std::string kernel_artifact;     // artifact id, required
  std::string initramfs_artifact;  // artifact id; empty boots without one
  std::string kernel_build;        // build ids, for display
  std::string initramfs_build;
  std::string saved_state;  // artifact id: goes on from there; empty: boots
  int vcpu_count = 0;
  std::int64_t memory_mib = kDefaultMemory;
  AcceleratorChoice accelerator = AcceleratorChoice::kAuto;
  bool randomize_base = false;
  StopChoice stop;
  std::string kernel_arguments;
  std::optional<vm::UserNetwork> network;  // its host ports: 0 until it starts
  std::string disk_image = {};             // a name of DiskImages; empty: no disk
  std::string folder_upload = {};          // that shared_folder.h unpacked; empty: no folder
  std::vector<std::string> devices = {};   // vm/extra_devices.h
  OnPanic on_panic = OnPanic::kStay;
  OnExpiry on_expiry = OnExpiry::kEnd;
  std::optional<absl::Duration> ttl;
  std::string
      request_id;  // of the owner's choosing; a repeat is answered with the first one's session
};

struct SessionRecord {
  std::string id;  // "vm-k3v9x2"
  std::string owner;
  SessionRequest request;  // defaults filled in
  SessionState state = SessionState::kCreating;
  RunState run_state = RunState::kUnknown;
  std::optional<SessionFailure> failure;
  std::string gdb_host;
  int gdb_port = 0;
  std::string gdb_holder;  // who is attached now
  std::string command_line;
  std::string accelerator;
  std::string stopped_at;
  std::string end_reason;  // DELETED, EXPIRED, GUEST_EXITED, VM_LOST, FAILED
  std::int64_t console_size_bytes = 0;
  absl::Time create_time;
  std::optional<absl::Time> ready_time;
  absl::Time expire_time;           // for people
  absl::Duration expire_monotonic;  // of Clock::Monotonic: what counts, as a guest outlives no boot
  std::optional<absl::Time> end_time;
  absl::Duration create_duration;
  absl::Duration boot_duration;
  Origin origin = Origin::kUnknown;
  std::string template_key;          // of a clone
  std::vector<SessionShare> shares;  // by user; none is kNone
  bool expires_soon = false;         // and nobody has said that they use it
  std::string last_dump;             // artifact id, of one that nobody asked for
  std::string dump_failure;          // why there is none
  int queue_place = 0;               // while QUEUED: 1 is next
  std::int64_t sequence = 0;         // grows with each session; for paging
};

std::string_view ToString(SessionState state);

}  // namespace kdbg::session
