#include "server/host/cgroup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <system_error>

#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::host {
namespace {

// bubblewrap's own two processes are in the group as well.
constexpr int kProcessesOfBubblewrap = 2;

absl::Status Put(const std::filesystem::path& file, std::string_view value) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return ErrnoError(errno, "open " + file.string());
  if (::write(fd.get(), value.data(), value.size()) < 0) {
    return ErrnoError(errno, fmt::format("write \"{}\" to {}", value, file.string()));
  }
  return absl::OkStatus();
}

std::optional<std::int64_t> Number(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  return number;
}

std::optional<std::int64_t> NumberIn(const std::filesystem::path& file) {
  const absl::StatusOr<std::string> text = ReadFile(file);
  return text.ok() ? Number(*text) : std::nullopt;
}

// The number after `key` in lines of "key number"; 0 when it is not there.
std::int64_t Counter(const std::filesystem::path& file, std::string_view key) {
  const absl::StatusOr<std::string> text = ReadFile(file);
  if (!text.ok()) return 0;
  const std::string lines = "\n" + *text;
  const std::string start = fmt::format("\n{} ", key);
  const std::size_t at = lines.find(start);
  if (at == std::string::npos) return 0;
  return Number(std::string_view(lines).substr(at + start.size())).value_or(0);
}

// pids.events and memory.events poll as exceptional after they changed since the last read.
void ReadAgain(const UniqueFd& fd) {
  char buffer[512];
  if (fd) {
    [[maybe_unused]] const ssize_t n = ::pread(fd.get(), buffer, sizeof buffer, 0);
  }
}

// What the scheduler gives a process: a step of nice is a quarter more or less.
int CpuShares(int nice) {
  return std::max(2, static_cast<int>(std::lround(1024 / std::pow(1.25, nice))));
}

UniqueFd OpenEvents(const std::filesystem::path& file) {
  UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  ReadAgain(fd);
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Cgroup>> Cgroup::Create(const CgroupHome& home,
                                                       std::string_view name,
                                                       const SandboxLimits& limits) {
  std::unique_ptr<Cgroup> group(new Cgroup);
  KDBG_RETURN_IF_ERROR(group->SetUp(home, name, limits));
  return group;
}

absl::Status Cgroup::SetUp(const CgroupHome& home, std::string_view name,
                           const SandboxLimits& limits) {
  const auto make = [name](const std::filesystem::path& below,
                           std::filesystem::path& made) -> absl::Status {
    if (below.empty()) return absl::OkStatus();
    const std::filesystem::path path = below / name;
    if (::mkdir(path.c_str(), 0755) != 0) return ErrnoError(errno, "make " + path.string());
    made = path;
    return absl::OkStatus();
  };
  unified_ = !home.unified.empty();
  if (unified_) {
    KDBG_RETURN_IF_ERROR(make(home.unified, memory_));
    pids_ = cpu_ = cpuacct_ = memory_;
    SetWeight(limits);
    return SetUpUnified(limits);
  }
  KDBG_RETURN_IF_ERROR(make(home.memory, memory_));
  KDBG_RETURN_IF_ERROR(make(home.pids, pids_));
  KDBG_RETURN_IF_ERROR(make(home.cpu, cpu_));
  if (home.cpuacct == home.cpu) {
    cpuacct_ = cpu_;
  } else {
    KDBG_RETURN_IF_ERROR(make(home.cpuacct, cpuacct_));
  }
  SetWeight(limits);
  KDBG_RETURN_IF_ERROR(SetUpMemory(limits));
  return SetUpProcesses(limits);
}

// Against the groups beside it, however many processes it has. Without the controller the file is
// not there, and each process has its own nice value only.
void Cgroup::SetWeight(const SandboxLimits& limits) const {
  if (cpu_.empty()) return;
  const absl::Status set = unified_
                               ? Put(cpu_ / "cpu.weight.nice", std::to_string(limits.nice))
                               : Put(cpu_ / "cpu.shares", std::to_string(CpuShares(limits.nice)));
  set.IgnoreError();
}

absl::Status Cgroup::SetUpUnified(const SandboxLimits& limits) {
  if (limits.memory_bytes > 0) {
    KDBG_RETURN_IF_ERROR(Put(memory_ / "memory.max", std::to_string(limits.memory_bytes)));
    // Without swap accounting the file is not there, and then swap does not count either.
    Put(memory_ / "memory.swap.max", "0").IgnoreError();
    Put(memory_ / "memory.oom.group", "1").IgnoreError();
  }
  if (limits.processes > 0) {
    KDBG_RETURN_IF_ERROR(
        Put(pids_ / "pids.max", std::to_string(limits.processes + kProcessesOfBubblewrap)));
  }
  memory_event_ = OpenEvents(memory_ / "memory.events");
  processes_event_ = OpenEvents(pids_ / "pids.events");
  return absl::OkStatus();
}

absl::Status Cgroup::SetUpMemory(const SandboxLimits& limits) {
  if (memory_.empty() || limits.memory_bytes <= 0) return absl::OkStatus();
  const std::string bytes = std::to_string(limits.memory_bytes);
  KDBG_RETURN_IF_ERROR(Put(memory_ / "memory.limit_in_bytes", bytes));
  Put(memory_ / "memory.memsw.limit_in_bytes", bytes).IgnoreError();
  memory_event_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  oom_control_.Reset(::open((memory_ / "memory.oom_control").c_str(), O_RDONLY | O_CLOEXEC));
  if (!memory_event_ || !oom_control_ ||
      !Put(memory_ / "cgroup.event_control",
           fmt::format("{} {}", memory_event_.get(), oom_control_.get()))
           .ok()) {
    memory_event_.Reset();
    must_look_ = true;
  }
  return absl::OkStatus();
}

absl::Status Cgroup::SetUpProcesses(const SandboxLimits& limits) {
  if (pids_.empty() || limits.processes <= 0) return absl::OkStatus();
  KDBG_RETURN_IF_ERROR(
      Put(pids_ / "pids.max", std::to_string(limits.processes + kProcessesOfBubblewrap)));
  // Newer kernels keep the version 1 pids.events file but no longer wake those who poll it.
  processes_event_ = OpenEvents(pids_ / "pids.events");
  must_look_ = true;
  return absl::OkStatus();
}

Cgroup::~Cgroup() {
  memory_event_.Reset();
  for (const std::filesystem::path& path : {memory_, pids_, cpu_, cpuacct_}) {
    if (!path.empty()) ::rmdir(path.c_str());
  }
}

std::vector<std::string> Cgroup::ProcsFiles() const {
  std::vector<std::string> files;
  for (const std::filesystem::path& path : {memory_, pids_, cpu_, cpuacct_}) {
    if (path.empty()) continue;
    std::string file = path / "cgroup.procs";
    if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(file);
  }
  return files;
}

bool Cgroup::OutOfMemory() {
  if (memory_.empty()) return false;
  if (unified_) {
    ReadAgain(memory_event_);
    return Counter(memory_ / "memory.events", "oom_kill") > 0;
  }
  // The version 1 event comes just before the kill that the counter counts.
  std::uint64_t events = 0;
  const bool told =
      memory_event_ && ::read(memory_event_.get(), &events, sizeof events) == sizeof events;
  return told || Counter(memory_ / "memory.oom_control", "oom_kill") > 0;
}

bool Cgroup::TooManyProcesses() {
  if (pids_.empty()) return false;
  ReadAgain(processes_event_);
  return Counter(pids_ / "pids.events", "max") > 0;
}

std::optional<absl::Duration> Cgroup::CpuTime() const {
  if (cpuacct_.empty()) return std::nullopt;
  if (unified_) return absl::Microseconds(Counter(cpuacct_ / "cpu.stat", "usage_usec"));
  const std::optional<std::int64_t> nanoseconds = NumberIn(cpuacct_ / "cpuacct.usage");
  if (!nanoseconds) return std::nullopt;
  return absl::Nanoseconds(*nanoseconds);
}

std::optional<std::int64_t> Cgroup::PeakMemory() const {
  if (memory_.empty()) return std::nullopt;
  return NumberIn(memory_ / (unified_ ? "memory.peak" : "memory.max_usage_in_bytes"));
}

void Cgroup::KillAll() const {
  if (unified_) Put(memory_ / "cgroup.kill", "1").IgnoreError();
}

}  // namespace kdbg::host
