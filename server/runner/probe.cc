#include "server/runner/probe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <string>
#include <utility>

#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"

namespace kdbg::runner {
namespace {

using host::EndCause;
using host::LimitReport;
using host::Sandbox;
using host::SandboxResult;

constexpr std::int64_t kMebibyte = 1 << 20;

// What the sandbox sees, one fact a line.
constexpr char kLookAround[] =
    "grep -c : /proc/net/dev; sed -n 's/^ *[0-9]* *\\([0-9]*\\) .*/\\1/p' /proc/self/uid_map";
constexpr char kForkMany[] = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; wait";
constexpr char kTakeMemory[] = "head -c 96M /dev/zero | tail -n 1 > /dev/null";
constexpr char kLongFile[] = "head -c 4M /dev/zero > /tmp/long";
constexpr char kWait[] = "sleep 5";

class Prober {
 public:
  explicit Prober(Supervisor& supervisor) : supervisor_(supervisor) {}

  struct Outcome {
    SandboxResult result;
    std::string output;
  };

  absl::StatusOr<Outcome> Try(const char* script, host::SandboxLimits limits) {
    Sandbox sandbox;
    sandbox.label = "probe";
    if (supervisor_.policy().own_uid == 0) {
      const auto id = static_cast<uid_t>(supervisor_.policy().first_uid);
      sandbox.run_as = host::Identity{.uid = id, .gid = id};
    }
    sandbox.argv = {"sh", "-c", script};
    if (limits.wall_time == absl::InfiniteDuration()) limits.wall_time = absl::Seconds(10);
    sandbox.limits = limits;
    const UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const UniqueFd output(::memfd_create("probe", MFD_CLOEXEC));
    Outcome outcome;
    KDBG_ASSIGN_OR_RETURN(
        outcome.result,
        supervisor_.Run(sandbox, {nothing.get(), output.get(), nothing.get()}, [] {}));
    outcome.output = ReadFile(fmt::format("/proc/self/fd/{}", output.get()), 4096).value_or("");
    return outcome;
  }

  // Whether `script` failed under `limits`.
  bool Stops(const char* script, const host::SandboxLimits& limits) {
    const absl::StatusOr<Outcome> outcome = Try(script, limits);
    return outcome.ok() && outcome->result.cause != EndCause::kNotStarted && !outcome->result.ok();
  }

 private:
  Supervisor& supervisor_;
};

LimitReport MemoryReport(Prober& prober, const host::CgroupHome& cgroups) {
  host::SandboxLimits limits;
  limits.memory_bytes = 32 * kMebibyte;
  LimitReport report{.name = "memory",
                     .holds = prober.Stops(kTakeMemory, limits),
                     .mechanism = cgroups.MemoryMechanism(),
                     .detail = "all processes of a build together"};
  if (!cgroups.holds_memory()) {
    report.detail = report.holds
                        ? "each process alone; for all together the server needs a control "
                          "group it may write to (systemd: Delegate=yes)"
                        : "not bounded; the server needs a control group it may write to";
  }
  return report;
}

LimitReport ProcessesReport(Prober& prober, const host::CgroupHome& cgroups) {
  host::SandboxLimits limits;
  limits.processes = 16;
  LimitReport report{.name = "processes",
                     .holds = prober.Stops(kForkMany, limits),
                     .mechanism = cgroups.ProcessesMechanism(),
                     .detail = "processes and threads of a build together"};
  if (!cgroups.holds_processes()) {
    report.detail = "processes and threads of the user, beyond what it runs already";
  }
  return report;
}

LimitReport CpuReport(const host::CgroupHome& cgroups) {
  const std::string mechanism = cgroups.CpuMechanism();
  const bool grouped = mechanism != "nice";
  return {.name = "cpu",
          .holds = grouped,
          .mechanism = mechanism,
          .detail = grouped ? "a build yields to guests as one, whatever its make -j"
                            : "each process of a build yields to guests alone, so many of them "
                              "outweigh one; the server needs a control group it may write to"};
}

LimitReport UidReport(const Policy& policy) {
  const bool own = policy.own_uid == 0;
  return {
      .name = "uid",
      .holds = own,
      .mechanism = own ? "uid range" : "none",
      .detail = own ? fmt::format("each owner's builds run as one of {} to {}", policy.first_uid,
                                  policy.first_uid + policy.uid_count - 1)
                    : fmt::format("the server is not root: every build and guest runs as uid {}",
                                  policy.own_uid)};
}

}  // namespace

host::SandboxAbility Probe(Supervisor& supervisor, const host::CgroupHome& cgroups) {
  Prober prober(supervisor);
  host::SandboxAbility ability;
  const absl::StatusOr<Prober::Outcome> trivial = prober.Try(kLookAround, {});
  if (!trivial.ok() || !trivial->result.ok()) {
    ability.reason =
        trivial.ok()
            ? fmt::format(
                  "a trivial sandbox failed ({}, {}); are user namespaces allowed "
                  "on this host (sysctl user.max_user_namespaces)?",
                  host::EndCauseName(trivial->result.cause), trivial->result.status.Describe())
            : std::string(trivial.status().message());
    return ability;
  }
  ability.usable = true;
  const std::string expected_uid =
      std::to_string(supervisor.policy().own_uid == 0 ? supervisor.policy().first_uid
                                                      : supervisor.policy().own_uid);
  host::SandboxLimits file;
  file.file_bytes = kMebibyte;
  host::SandboxLimits wall;
  wall.wall_time = absl::Milliseconds(50);
  ability.limits = {
      MemoryReport(prober, cgroups),
      ProcessesReport(prober, cgroups),
      CpuReport(cgroups),
      {.name = "file size",
       .holds = prober.Stops(kLongFile, file),
       .mechanism = "rlimit",
       .detail = "each file alone; the disk as a whole is not bounded"},
      {.name = "wall time",
       .holds = prober.Stops(kWait, wall),
       .mechanism = "timer",
       .detail = "the whole tree is ended"},
      {.name = "network",
       .holds = trivial->output.starts_with("1\n"),
       .mechanism = "namespace",
       .detail = "no interface but a loopback of its own"},
      UidReport(supervisor.policy()),
  };
  return ability;
}

}  // namespace kdbg::runner
