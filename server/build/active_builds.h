// The builds that have not ended, and the works they wait for.
//
// A work is one run of make. A build that asks for what a work is already making joins it: both are
// its members, see one log, and each ends by itself; the work goes on until its last member has
// left. Knows neither disk nor make. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/build/build_queue.h"
#include "server/build/build_record.h"

namespace kdbg::build {

class ActiveBuilds {
 public:
  explicit ActiveBuilds(std::size_t queue_limit) : queue_limit_(queue_limit) {}

  // ---- Coming

  struct Work {
    std::string id;
    std::string eldest;     // of its members
    std::string workspace;  // the line of work of its owner that it runs in
  };
  // A work that makes what `build` asks for and may answer it: for the same owner, as private.
  std::optional<Work> FindWork(const BuildRecord& build) const;
  // Makes `build` a member. False when the work has its result already, or is gone.
  bool Join(std::string_view work, BuildRecord build);
  enum class Priority { kNormal, kBackground };
  // RESOURCE_EXHAUSTED (kQueueFull), UNAVAILABLE (kDraining). Each priority has a room of its own.
  absl::Status CheckRoom(Priority priority) const;
  // A new work with this one member. Its place in the queue. When nobody has time for it, and
  // somebody works only in the background, that one is asked to stop.
  int Add(BuildRecord build, Priority priority);

  // ---- Working

  struct Started {
    std::string work;
    std::vector<BuildRecord> members;  // RUNNING now, the eldest first
    std::stop_token stop;
  };
  // While held nothing is started, and what runs is stopped and QUEUED again.
  void SetHeld(bool held);
  // Blocks until there is something to work on; nullopt after End.
  std::optional<Started> Next(absl::Time now);
  // The members as they are then.
  std::vector<BuildRecord> Advance(std::string_view work, const BuildProgress& progress,
                                   std::int64_t log_size_bytes);
  // Nobody joins or leaves from here on: these get the result.
  std::vector<BuildRecord> Close(std::string_view work);
  // Whether it was stopped for somebody more urgent, or is held: then its members are QUEUED again.
  bool Requeue(std::string_view work);
  // Whether its last member asked for its end.
  bool WasCancelled(std::string_view work) const;
  // The work and its members are no longer active.
  void Remove(std::string_view work);

  // ---- Leaving

  enum class Leaving {
    kNotActive,
    kLeft,     // nobody works for it any more: record its end, then Forget it
    kStopped,  // it was the last member; its work is being stopped
    kTooLate,  // the result is about to be recorded
  };
  // What `build` was then.
  Leaving Leave(std::string_view build, BuildRecord* left);
  void Forget(std::string_view build);
  // Until it is no longer active.
  void AwaitEnd(std::string_view build) const;

  // ---- Looking

  // With its place in the queue.
  std::optional<BuildRecord> Find(std::string_view build) const;
  std::vector<std::string> MembersOf(std::string_view work) const;
  BuildNumbers Count() const;
  // How many are in Next and have nothing to do.
  int waiting_threads() const;

  // Next returns nullopt, works are asked to stop, nothing is added. Their members stay as they
  // are.
  void End();

 private:
  struct Member {
    BuildRecord record;
    std::string work;  // empty: it has left
  };
  struct Entry {
    BuildQueue::Entry queued;
    std::vector<std::string> members;  // the eldest first
    std::string key;
    bool is_private = false;
    bool closed = false;
    bool cancelled = false;
    bool running = false;
    bool preempted = false;
    std::stop_source stop;
  };

  static bool Admits(const Entry& entry) { return !entry.closed && !entry.cancelled; }
  int Enter(BuildRecord build, Priority priority) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<std::stop_source> MakeRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<BuildRecord> Records(const Entry& entry) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const std::size_t queue_limit_;
  mutable absl::Mutex mutex_;
  BuildQueue queue_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Member, std::less<>> members_ ABSL_GUARDED_BY(mutex_);  // by build
  std::map<std::string, Entry, std::less<>> works_ ABSL_GUARDED_BY(mutex_);
  int idle_ ABSL_GUARDED_BY(mutex_) = 0;  // threads that wait in Next
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace kdbg::build
