// Control groups for sandboxes: memory and processes bounded for all of a build together, and its
// processes weighed as one, by version 2 where it is delegated to us, else by version 1, else not
// at all (and then the runner says so).
//
// CgroupHome is found once by the runner; each Cgroup has one owner and one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/support/unique_fd.h"
#include "server/host/sandbox.h"

namespace kdbg::host {

// Where this process sits in each hierarchy, as directories; absent where the hierarchy is not
// mounted.
struct CgroupPlaces {
  std::optional<std::filesystem::path> unified;
  std::filesystem::path unified_mount;
  std::optional<std::filesystem::path> memory;   // version 1
  std::optional<std::filesystem::path> pids;     // version 1
  std::optional<std::filesystem::path> cpu;      // version 1
  std::optional<std::filesystem::path> cpuacct;  // version 1, often the same as cpu
};

// Of /proc/self/mountinfo and /proc/self/cgroup.
CgroupPlaces ParseCgroupPlaces(std::string_view mountinfo, std::string_view cgroup);

// The directories in which groups for sandboxes are made. Travels to the runner's children as text.
struct CgroupHome {
  std::filesystem::path unified;  // version 2: all controllers at once; else empty
  std::filesystem::path memory;   // version 1 each, or empty
  std::filesystem::path pids;
  std::filesystem::path cpu;
  std::filesystem::path cpuacct;

  bool holds_memory() const { return !unified.empty() || !memory.empty(); }
  bool holds_processes() const { return !unified.empty() || !pids.empty(); }
  std::string MemoryMechanism() const;
  std::string ProcessesMechanism() const;
  std::string CpuMechanism() const;  // "nice" without a group that has a weight

  std::string ToText() const;
  static CgroupHome FromText(std::string_view text);

  // Tries, leaving nothing behind. Under version 2 this may move the calling process into a group
  // of its own below the one it is in, as delegation asks for; a runner calls it before it has
  // children.
  static CgroupHome Find();
};

class Cgroup {
 public:
  static absl::StatusOr<std::unique_ptr<Cgroup>> Create(const CgroupHome& home,
                                                        std::string_view name,
                                                        const SandboxLimits& limits);
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;
  // Removes the groups; every process in them must have ended.
  ~Cgroup();

  // Writing "0" to each moves the writer in.
  std::vector<std::string> ProcsFiles() const;

  // -1, or a descriptor that polls readable (POLLIN) or exceptional (POLLPRI) when there may be
  // news.
  int memory_event() const { return memory_event_.get(); }
  int processes_event() const { return processes_event_.get(); }
  // Some kernels count without telling: then somebody has to look now and then.
  bool must_look() const { return must_look_; }

  // Reads the counters; clears a pending event.
  bool OutOfMemory();
  bool TooManyProcesses();

  std::optional<absl::Duration> CpuTime() const;
  std::optional<std::int64_t> PeakMemory() const;
  // At once, without the race of killing one by one; only version 2 can.
  void KillAll() const;

 private:
  Cgroup() = default;
  absl::Status SetUp(const CgroupHome& home, std::string_view name, const SandboxLimits& limits);
  absl::Status SetUpUnified(const SandboxLimits& limits);
  absl::Status SetUpMemory(const SandboxLimits& limits);
  absl::Status SetUpProcesses(const SandboxLimits& limits);
  void SetWeight(const SandboxLimits& limits) const;

  // Each empty or an existing directory of ours; under version 2 all are the same.
  std::filesystem::path memory_;
  std::filesystem::path pids_;
  std::filesystem::path cpu_;
  std::filesystem::path cpuacct_;
  bool unified_ = false;
  bool must_look_ = false;
  UniqueFd memory_event_;
  UniqueFd oom_control_;
  UniqueFd processes_event_;
};

}  // namespace kdbg::host
