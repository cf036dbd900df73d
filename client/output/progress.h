// Progress on stderr: one live line with the time passed on a terminal, a plain line at each change
// elsewhere.
#pragma once

#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/output/output.h"

namespace kdbg::client {

class Progress {
 public:
  // Nothing at all when `output` is quiet.
  explicit Progress(const Output& output);
  ~Progress();  // as Clear
  Progress(const Progress&) = delete;

  // What goes on now. Plain lines appear when `phase` changes and, while it lasts, every ten
  // seconds.
  void Update(const std::string& phase, const std::string& detail);

  // Shown time counts from `start` (default: when this was made).
  void SetStart(absl::Time start);

  // Takes the live line away; a later Update brings it back.
  void Clear();

 private:
  enum class Style { kNone, kPlain, kLive };
  static Style StyleFor(const Output& output);
  void Tick();
  void Draw() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Erase() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Style style_;
  absl::Mutex mutex_;
  absl::Time start_ ABSL_GUARDED_BY(mutex_) = absl::Now();
  absl::Time last_plain_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  std::string phase_ ABSL_GUARDED_BY(mutex_);
  std::string detail_ ABSL_GUARDED_BY(mutex_);
  bool shown_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread ticker_;  // live only: the clock moves even when nothing else does
};

// "[#####.....]", for the live line.
std::string Bar(std::int64_t done, std::int64_t expected);

}  // namespace kdbg::client
