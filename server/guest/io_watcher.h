// One thread that waits on many files and sockets: a file has grown (inotify), a descriptor is
// readable (epoll).
//
// Thread-safe. Callbacks run on its thread: short, no blocking. What comes right after something
// else is told a little later (0.1 ms, files 2 ms), with what follows it. Dropping a Subscription
// waits for a callback in progress, unless dropped by that callback itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "proto/support/unique_fd.h"
#include "server/base/subscribers.h"

namespace kdbg::guest {

class IoWatcher {
 public:
  static absl::StatusOr<std::unique_ptr<IoWatcher>> Start();
  // Every subscription must be gone before.
  ~IoWatcher();
  IoWatcher(const IoWatcher&) = delete;
  IoWatcher& operator=(const IoWatcher&) = delete;

  // `changed` after each write to the file; many writes may come as one.
  absl::StatusOr<Subscription> WatchFile(const std::filesystem::path& file,
                                         std::function<void()> changed);
  // `readable` as long as there is something to read or the peer is gone: read it, or drop the
  // subscription. The descriptor stays the caller's and must outlive the subscription.
  absl::StatusOr<Subscription> WatchReadable(int fd, std::function<void()> readable);

 private:
  IoWatcher(UniqueFd epoll, UniqueFd inotify, UniqueFd timer, UniqueFd stop);
  void Run();
  void ReadInotify();
  void Dispatch(std::uint64_t key);

  const UniqueFd epoll_;
  const UniqueFd inotify_;
  const UniqueFd timer_;  // until files are looked at again
  const UniqueFd stop_;
  absl::Mutex mutex_;
  std::uint64_t next_key_ ABSL_GUARDED_BY(mutex_) = 16;
  std::map<std::uint64_t, std::shared_ptr<Subscribers<>>> readable_ ABSL_GUARDED_BY(mutex_);
  struct WatchedFile {
    int users = 0;
    std::shared_ptr<Subscribers<>> changed;
  };
  // By watch descriptor: inotify gives the same one for the same file.
  std::map<int, WatchedFile> files_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace kdbg::guest
