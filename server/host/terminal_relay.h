// The other end of a program's terminal, for a caller who is far away: what the program writes
// waits here until it is taken, what is typed waits until the program's terminal has room for it.
// Both are bounded: a program that nobody reads stops at its next write, as on a terminal that is
// held.
//
// Thread-safe; Run belongs to one thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/support/unique_fd.h"
#include "server/base/clock.h"
#include "server/host/pty.h"

namespace kdbg::host {

class TerminalRelay {
 public:
  // `changed` when there is output to take, or room to type; on the thread of Run or Print, without
  // a lock.
  static absl::StatusOr<std::unique_ptr<TerminalRelay>> Create(TerminalSize size,
                                                               const Clock& clock,
                                                               std::function<void()> changed);

  // False while what was typed before has not gone to the program: again after `changed`.
  [[nodiscard]] bool Type(std::string_view keys);
  void Resize(TerminalSize size);
  // Empty: nothing now.
  std::string TakeOutput(std::size_t max_bytes);

  // Words of our own, before the program has the terminal or after it. Not bounded: a few lines.
  void Print(std::string_view text);
  TerminalSize size() const;

  enum class End {
    kClosed,   // nobody has the program's end of the terminal open any more
    kStopped,  // by `stop`
    kIdle,     // nothing was typed for `idle_limit`
  };
  // Carries bytes both ways. `watch` sees what the program writes.
  absl::StatusOr<End> Run(const Pty& pty, std::stop_token stop, absl::Duration idle_limit,
                          const std::function<void(std::string_view)>& watch);

 private:
  // What the next turn of Run is about.
  struct Turn {
    bool read = false;
    bool write = false;
    std::optional<TerminalSize> resize;
    absl::Duration idle;
  };

  TerminalRelay(TerminalSize size, const Clock& clock, UniqueFd wake,
                std::function<void()> changed);
  void Wake() const;
  Turn NextTurn();
  // Whether there may be more; false at the end of the terminal.
  absl::StatusOr<bool> Read(const Pty& pty, const std::function<void(std::string_view)>& watch);
  absl::Status Write(const Pty& pty);

  const Clock& clock_;
  const UniqueFd wake_;
  const std::function<void()> changed_;
  mutable absl::Mutex mutex_;
  std::string output_ ABSL_GUARDED_BY(mutex_);
  std::string keys_ ABSL_GUARDED_BY(mutex_);
  TerminalSize size_ ABSL_GUARDED_BY(mutex_);
  bool resized_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration last_typed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::host
