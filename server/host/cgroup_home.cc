// Where groups for sandboxes can be made on this host.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <sstream>
#include <system_error>

#include "proto/support/file.h"
#include "server/host/cgroup.h"

namespace kdbg::host {
namespace {

constexpr std::string_view kRunPrefix = "kdbg-run-";

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream{std::string(text)};
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

bool HasWord(std::string_view text, std::string_view word, char separator) {
  for (const std::string& each : Split(text, separator)) {
    if (each == word) return true;
  }
  return false;
}

struct CgroupMount {
  std::string root;  // the part of the hierarchy that is mounted
  std::string point;
  std::string type;
  std::string options;  // "rw,memory"
};

// "36 35 0:33 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory"
std::vector<CgroupMount> CgroupMounts(std::string_view mountinfo) {
  std::vector<CgroupMount> mounts;
  for (const std::string& line : Split(mountinfo, '\n')) {
    const std::vector<std::string> words = Split(line, ' ');
    for (std::size_t i = 6; i + 3 < words.size(); ++i) {
      if (words[i] != "-") continue;
      if (words[i + 1].starts_with("cgroup")) {
        mounts.push_back({words[3], words[4], words[i + 1], words[i + 3]});
      }
      break;
    }
  }
  return mounts;
}

std::filesystem::path Below(const CgroupMount& mount, std::string_view place) {
  if (mount.root != "/" && place.starts_with(mount.root)) place.remove_prefix(mount.root.size());
  while (place.starts_with('/')) place.remove_prefix(1);
  const std::filesystem::path point = mount.point;
  return place.empty() ? point : point / place;
}

void PlaceIn(const CgroupMount& mount, std::string_view controllers, std::string_view place,
             CgroupPlaces& places) {
  if (mount.type == "cgroup2") {
    if (!controllers.empty()) return;
    places.unified = Below(mount, place);
    places.unified_mount = mount.point;
    return;
  }
  if (controllers.empty()) return;
  const auto holds = [&](std::string_view name) {
    return HasWord(controllers, name, ',') && HasWord(mount.options, name, ',');
  };
  if (holds("memory")) places.memory = Below(mount, place);
  if (holds("pids")) places.pids = Below(mount, place);
  if (holds("cpu")) places.cpu = Below(mount, place);
  if (holds("cpuacct")) places.cpuacct = Below(mount, place);
}

std::string Text(const std::filesystem::path& file) { return ReadFile(file).value_or(""); }

bool Put(const std::filesystem::path& file, std::string_view value) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), value.data(), value.size()) >= 0;
}

// Whether a group made below `home` has these files, which means that its limits can be set.
bool CanMake(const std::filesystem::path& home, std::initializer_list<std::string_view> files) {
  const std::filesystem::path group = home / fmt::format("{}{}", kRunPrefix, ::getpid());
  if (::mkdir(group.c_str(), 0755) != 0) return false;
  bool all = ::access((group / "cgroup.procs").c_str(), W_OK) == 0;
  for (std::string_view file : files) all &= ::access((group / file).c_str(), W_OK) == 0;
  ::rmdir(group.c_str());
  return all;
}

bool CanHoldUnified(const std::filesystem::path& home) {
  return CanMake(home, {"memory.max", "pids.max"});
}

// Below our own group, which must then hold no process itself: the rule of version 2.
std::filesystem::path OwnUnified(const std::filesystem::path& own) {
  if (CanHoldUnified(own)) return own;
  if (!HasWord(Text(own / "cgroup.controllers"), "memory", ' ') ||
      Text(own / "cgroup.procs") != fmt::format("{}\n", ::getpid())) {
    return {};
  }
  const std::filesystem::path leaf = own / "runner";
  ::mkdir(leaf.c_str(), 0755);
  if (!Put(leaf / "cgroup.procs", "0")) {
    ::rmdir(leaf.c_str());
    return {};
  }
  if (Put(own / "cgroup.subtree_control", "+memory +pids") && CanHoldUnified(own)) {
    Put(own / "cgroup.subtree_control", "+cpu");  // as well, where it is
    return own;
  }
  Put(own / "cgroup.procs", "0");
  ::rmdir(leaf.c_str());
  return {};
}

// At the top of the hierarchy, for a root daemon that was started from somebody's shell.
std::filesystem::path TopUnified(const std::filesystem::path& mount) {
  const std::filesystem::path home = mount / "kdbg-sandboxes";
  // systemd has done so long ago.
  Put(mount / "cgroup.subtree_control", "+memory +pids");
  Put(mount / "cgroup.subtree_control", "+cpu");
  if (::mkdir(home.c_str(), 0755) != 0 && errno != EEXIST) return {};
  if (Put(home / "cgroup.subtree_control", "+memory +pids") && CanHoldUnified(home)) {
    Put(home / "cgroup.subtree_control", "+cpu");
    return home;
  }
  ::rmdir(home.c_str());
  return {};
}

// Groups of supervisors that were killed: "kdbg-run-PID-N". One that lives may have made its group
// a moment ago and have nothing in it yet.
void RemoveStale(const std::filesystem::path& home) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(home, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kRunPrefix)) continue;
    const pid_t pid = std::atoi(name.c_str() + kRunPrefix.size());
    if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) ::rmdir(entry.path().c_str());
  }
}

}  // namespace

CgroupPlaces ParseCgroupPlaces(std::string_view mountinfo, std::string_view cgroup) {
  CgroupPlaces places;
  const std::vector<CgroupMount> mounts = CgroupMounts(mountinfo);
  for (const std::string& line : Split(cgroup, '\n')) {  // "4:memory:/some/group"
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string_view text = line;
    for (const CgroupMount& mount : mounts) {
      PlaceIn(mount, text.substr(first + 1, second - first - 1), text.substr(second + 1), places);
    }
  }
  return places;
}

CgroupHome CgroupHome::Find() {
  const CgroupPlaces places =
      ParseCgroupPlaces(Text("/proc/self/mountinfo"), Text("/proc/self/cgroup"));
  CgroupHome home;
  if (places.unified) {
    home.unified = OwnUnified(*places.unified);
    if (home.unified.empty()) home.unified = TopUnified(places.unified_mount);
  }
  if (home.unified.empty()) {
    if (places.memory && CanMake(*places.memory, {"memory.limit_in_bytes"})) {
      home.memory = *places.memory;
    }
    if (places.pids && CanMake(*places.pids, {"pids.max"})) home.pids = *places.pids;
    if (places.cpu && CanMake(*places.cpu, {"cpu.shares"})) home.cpu = *places.cpu;
    if (places.cpuacct && CanMake(*places.cpuacct, {})) home.cpuacct = *places.cpuacct;
  }
  for (const std::filesystem::path& path :
       {home.unified, home.memory, home.pids, home.cpu, home.cpuacct}) {
    if (!path.empty()) RemoveStale(path);
  }
  return home;
}

std::string CgroupHome::MemoryMechanism() const {
  if (!unified.empty()) return "cgroup v2";
  return memory.empty() ? "rlimit" : "cgroup v1";
}

std::string CgroupHome::ProcessesMechanism() const {
  if (!unified.empty()) return "cgroup v2";
  return pids.empty() ? "rlimit" : "cgroup v1";
}

std::string CgroupHome::CpuMechanism() const {
  if (HasWord(Text(unified / "cgroup.subtree_control"), "cpu", ' ')) return "cgroup v2";
  return cpu.empty() ? "nice" : "cgroup v1";
}

std::string CgroupHome::ToText() const {
  return fmt::format("{}\n{}\n{}\n{}\n{}\n", unified.string(), memory.string(), pids.string(),
                     cpu.string(), cpuacct.string());
}

CgroupHome CgroupHome::FromText(std::string_view text) {
  std::vector<std::string> lines = Split(text, '\n');
  lines.resize(5);
  return {.unified = lines[0],
          .memory = lines[1],
          .pids = lines[2],
          .cpu = lines[3],
          .cpuacct = lines[4]};
}

}  // namespace kdbg::host
