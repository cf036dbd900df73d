#include "server/host/fd_store.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <utility>

namespace kdbg::host {
namespace {

std::string UnixPathOf(int fd) {
  sockaddr_un address = {};
  socklen_t size = sizeof address - 1;  // a path may fill it, and has no end then
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  return address.sun_family == AF_UNIX ? address.sun_path : "";
}

}  // namespace

std::map<std::string, UniqueFd> FdStore::HeldForUs() {
  std::map<std::string, UniqueFd> held;
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(/*unset_environment=*/1, &names);
  for (int i = 0; i < count; ++i) {
    UniqueFd fd(SD_LISTEN_FDS_START + i);
    const std::string path = UnixPathOf(fd.get());
    // Of two under one name the later one is the newer.
    held[path.empty() ? names[i] : path] = std::move(fd);
    ::free(names[i]);
  }
  ::free(names);
  return held;
}

std::optional<UniqueFd> FdStore::Take(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  const auto found = held_.find(name);
  if (found == held_.end()) return std::nullopt;
  UniqueFd fd = std::move(found->second);
  held_.erase(found);
  return fd;
}

void FdStore::Hold(const std::string& name, int fd) {
  sd_pid_notify_with_fds(0, 0, fmt::format("FDSTORE=1\nFDNAME={}", name).c_str(), &fd, 1);
}

void FdStore::LetGo(const std::string& name) {
  sd_notify(0, fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name).c_str());
}

void FdStore::LetGoOfTheRest(std::string_view prefix) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(held_, [&](const auto& held) {
    if (!held.first.starts_with(prefix)) return false;
    LetGo(held.first);
    return true;
  });
}

}  // namespace kdbg::host
