// Clones made ahead of the requests for them, so that a session of the common case only has to take
// one.
//
// Of the guests that were cloned last, some are kept ready within a budget; those asked for most
// recently come first. They are nobody's session: a daemon that goes leaves none, and one that is
// killed leaves machines that the next one removes.
//
// Thread-safe; only the destructor blocks.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/guest/guest.h"
#include "server/session/made_guest.h"
#include "server/session/template_pool.h"

namespace kdbg::session {

class WarmPool {
 public:
  struct Settings {
    std::filesystem::path guests_directory;
    std::int64_t memory_mib = 0;  // of all together, as if each touched all it has; 0: none
  };
  // `templates` and `host` outlive it.
  WarmPool(TemplatePool& templates, const guest::GuestHost& host, Settings settings);
  // Ends the guests that are left, all at once: up to 2 s.
  ~WarmPool();

  // From now on some of these are kept ready, while there is a template for them.
  void KeepReady(const guest::GuestSpec& guest, const guest::StopPoint& stop);

  // One that is ready, but for its id and folder; it is the caller's now, and another is made in
  // its place. nullopt: none is ready.
  std::optional<MadeGuest> Take(const guest::GuestSpec& guest, const guest::StopPoint& stop);

  // While held there are none: those that are ready go.
  void SetHeld(bool held);

  // Until `count` are ready, at most `timeout`; whether they are. For tests.
  bool Await(std::size_t count, absl::Duration timeout) const;

 private:
  struct Kind {
    guest::GuestSpec guest;
    std::int64_t last_used = 0;  // by counter_
    bool failed = false;         // until it is asked for again
    std::deque<MadeGuest> ready;
  };
  using Kinds = std::map<std::string, Kind, std::less<>>;
  // What is to be done next.
  struct Step {
    std::optional<MadeGuest> surplus;  // end it
    std::string key;                   // make one of these, unless empty
    guest::GuestSpec guest;
  };

  void Run();
  Step NextStep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // How many of each are to be ready, most recently used first.
  std::map<std::string, std::size_t> Targets() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Make(const std::string& key, guest::GuestSpec guest);

  TemplatePool& templates_;
  const guest::GuestHost host_;
  const Settings settings_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  std::int64_t counter_ ABSL_GUARDED_BY(mutex_) = 0;
  Kinds kinds_ ABSL_GUARDED_BY(mutex_);
  std::deque<MadeGuest> surplus_ ABSL_GUARDED_BY(mutex_);  // to be ended
  std::thread thread_;
};

}  // namespace kdbg::session
