// Listening sockets that the service manager holds for us, so that a port stays ours over a restart
// however the daemon ended, and who connects meanwhile waits instead of being refused: those of its
// socket units, and those it was given to hold (systemd's file descriptor store,
// FileDescriptorStoreMax= of the unit, sd_pid_notify_with_fds(3)). Where there is no such manager
// nothing is held, and nothing else changes.
//
// Thread-safe, but for the making of it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/support/unique_fd.h"

namespace kdbg::host {

class FdStore {
 public:
  // What was held when this process began (LISTEN_FDS), which is gone from the environment then: to
  // be asked once, before there are threads. A unix socket has its path for a name.
  static std::map<std::string, UniqueFd> HeldForUs();

  explicit FdStore(std::map<std::string, UniqueFd> held = {}) : held_(std::move(held)) {}

  // What an earlier daemon left under that name. It stays held.
  std::optional<UniqueFd> Take(const std::string& name);
  // Names are of letters, digits and dashes.
  static void Hold(const std::string& name, int fd);
  static void LetGo(const std::string& name);
  // Of what nobody took whose name begins so.
  void LetGoOfTheRest(std::string_view prefix);

 private:
  absl::Mutex mutex_;
  std::map<std::string, UniqueFd> held_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::host
