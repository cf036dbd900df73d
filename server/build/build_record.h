// A build as the outside sees it, and what a caller asks for: plain snapshots, never live pointers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "proto/contract/architecture.h"
#include "proto/contract/error.h"
#include "server/build/cpio_writer.h"

namespace kdbg::build {

enum class BuildKind { kKernel = 1, kInitramfs = 2 };
enum class BuildState { kQueued = 1, kRunning = 2, kSucceeded = 3, kFailed = 4, kCancelled = 5 };
enum class BuildPhase {
  kWaiting = 1,
  kCheckingOut = 2,
  kConfiguring = 3,
  kCompiling = 4,
  kVerifying = 5,
  kPacking = 6,
  kPublishing = 7,
};
enum class Fault { kSubject = 1, kCaller = 2, kHost = 3 };

inline bool IsFinal(BuildState state) {
  return state != BuildState::kQueued && state != BuildState::kRunning;
}
std::string_view ToString(BuildState state);  // "QUEUED"

struct ConfigFragment {
  std::string name;  // for messages
  std::string text;
};

struct KernelRequest {
  Architecture architecture = HostArchitecture();
  std::string base_config = "tiny";  // tiny, defconfig, allnoconfig, or *_defconfig of the tree
  std::string base_config_text;      // a whole .config; replaces base_config when not empty
  std::vector<ConfigFragment> fragments;
  std::vector<std::string> config_items;              // "CONFIG_X=y"
  std::map<std::string, std::string> make_variables;  // KCFLAGS and the like
  bool clean = false;
  bool skip_cache = false;
};

struct InitramfsOverlay {
  std::string upload_id;
  std::string sha256;  // of the upload; known when the request is accepted
};

struct InitramfsRequest {
  Architecture architecture = HostArchitecture();
  std::string init;  // bytes of an executable that replaces our /init; empty: ours
  std::vector<ConfigFragment> fragments;
  std::vector<std::string> config_items;
  std::vector<InitramfsOverlay> overlays;
  std::string modules_build;                   // id of a kernel build; empty: none
  std::string modules_sha256;                  // of its modules; known when it is accepted
  std::optional<CpioCompression> compression;  // absent: decided when it is accepted
  bool clean = false;
  bool skip_cache = false;
};

struct BuildRequest {
  std::string display_name;  // may be empty
  std::string workspace;     // the line of work; empty: named as the build, else as the project
  std::string source_id;
  bool is_private = false;
  std::variant<KernelRequest, InitramfsRequest> spec;
  std::string request_id;  // may be empty; the same one again answers the build it made
};

Architecture ArchitectureOf(const BuildRequest& request);

struct BuildFailure {
  Fault fault = Fault::kHost;
  Reason reason = Reason::kUnspecified;
  std::string message;  // one sentence: what failed and what to do next
  std::string file;     // below the source root
  int line = 0;
  std::string excerpt;  // about 20 lines of the log around the cause
};

struct BuildProgress {
  BuildPhase phase = BuildPhase::kWaiting;
  std::int64_t steps_done = 0;
  std::int64_t steps_expected = 0;  // 0: unknown
  bool steps_expected_estimated = false;
  std::int64_t cache_hits = 0;
  std::int64_t cache_misses = 0;
  int queue_position = 0;       // 1 is next; 0 when not waiting
  double steps_per_second = 0;  // while it compiles; 0: cannot be told yet

  // At that rate; nullopt when it cannot be told.
  std::optional<absl::Duration> TimeLeft() const;
};

struct BuildRecord {
  std::string id;  // "b-k3v9x2qf"
  std::string owner;
  BuildRequest request;
  BuildState state = BuildState::kQueued;
  std::optional<BuildFailure> failure;
  std::string artifact_id;  // when succeeded
  BuildProgress progress;
  std::string key;        // what decides its bytes; two builds of one key make the same
  std::string workspace;  // name of the line of work it runs in
  std::int64_t log_size_bytes = 0;
  bool answered_from_store = false;
  absl::Time create_time;
  std::optional<absl::Time> start_time;
  std::optional<absl::Time> end_time;
  std::int64_t sequence = 0;  // grows with each build; for paging

  BuildKind kind() const {
    return std::holds_alternative<KernelRequest>(request.spec) ? BuildKind::kKernel
                                                               : BuildKind::kInitramfs;
  }
};

// Of builds that have not ended.
struct BuildNumbers {
  int queued = 0;
  int running = 0;
};

}  // namespace kdbg::build
