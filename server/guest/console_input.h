// The way in to a guest's serial console: one connection to QEMU's console socket.
//
// Thread-safe. What the guest prints comes from ConsoleLog; here it is read and dropped, because a
// client that does not read would stall the guest.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "proto/support/unique_fd.h"
#include "server/base/subscribers.h"
#include "server/guest/io_watcher.h"

namespace kdbg::guest {

class ConsoleInput {
 public:
  static absl::StatusOr<std::shared_ptr<ConsoleInput>> Connect(const std::filesystem::path& socket,
                                                               IoWatcher& watcher);

  // As typed on the terminal. All of it or, with an error, an unknown part of it.
  //   RESOURCE_EXHAUSTED   the guest does not read (it may be halted); try again later
  //   FAILED_PRECONDITION  kWrongState: the guest is gone
  absl::Status Write(std::string_view bytes);

  // Waits for a read in progress on the watcher's thread.
  ~ConsoleInput();

 private:
  explicit ConsoleInput(UniqueFd socket) : socket_(std::move(socket)) {}
  void Drain();

  const UniqueFd socket_;
  absl::Mutex write_mutex_;
  absl::Mutex watch_mutex_;
  Subscription watch_ ABSL_GUARDED_BY(watch_mutex_);
};

}  // namespace kdbg::guest
