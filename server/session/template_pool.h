// Templates of the guests that are asked for again and again, so that the next one is a clone.
//
// A template is wanted once its guest was asked for a second time. It is made on the pool's own
// thread when no session of its owner's is starting, which also ends one half made; it survives the
// daemon. All together keep to a budget: the least recently used goes first, and none of which a
// clone lives, as that would free nothing.
//
// Thread-safe; nothing here blocks but where said.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/guest/guest.h"
#include "server/guest/template.h"

namespace kdbg::session {

class TemplatePool {
 public:
  struct Settings {
    std::filesystem::path directory;         // one folder per template; empty: none are there
    std::filesystem::path guests_directory;  // for the guests that become one
    std::int64_t memory_mib = 0;             // of all together; 0: none are made
    absl::Duration boot_timeout = absl::Minutes(10);
  };
  // Begins with what the last daemon left. `host` outlives it.
  TemplatePool(const guest::GuestHost& host, Settings settings);
  // Ends the one that is being made.
  ~TemplatePool();

  // Kept by whoever has a clone, for as long as it lives.
  using CloneMark = std::shared_ptr<const void>;
  struct Found {
    std::string key;
    std::shared_ptr<const guest::Template> from;
    CloneMark mark;
  };
  // Notes that this guest is asked for, and finds a template for it. May run the emulator once, to
  // learn its version.
  std::optional<Found> Ask(const guest::GuestSpec& guest, const guest::StopPoint& stop);
  // What templates for this guest are known by; nullopt: it is one that boots.
  std::optional<std::string> KeyOf(const guest::GuestSpec& guest,
                                   const guest::StopPoint& stop) const;
  // The template alone, for what nobody has asked for yet.
  std::optional<Found> Find(std::string_view key);
  void NoteUse(std::string_view key);
  // For a clone that an earlier daemon made.
  CloneMark MarkClone(std::string_view key);
  // No clone could be made of it: it goes, and after a second time there is no other.
  void Reject(std::string_view key);

  // While it lives, no template of this owner's is made.
  class Starting {
   public:
    Starting(TemplatePool& pool, std::string_view owner);
    ~Starting();
    Starting(const Starting&) = delete;
    Starting& operator=(const Starting&) = delete;

   private:
    TemplatePool& pool_;
    const std::string owner_;
  };

  // While held none is made; the one that is being made is given up, and still wanted.
  void SetHeld(bool held);

  // Keys of the templates that are there.
  std::vector<std::string> Keys() const;
  // Until `wanted` holds of them, at most `timeout`; whether it does. For tests.
  bool Await(const std::function<bool(const std::vector<std::string>&)>& wanted,
             absl::Duration timeout) const;

 private:
  struct Order {
    guest::GuestSpec maker;
    guest::StopPoint stop;
  };
  struct Entry {
    std::int64_t uses = 0;
    std::int64_t last_used = 0;  // by counter_
    int failures = 0;
    std::optional<Order> wanted;
    std::shared_ptr<const guest::Template> made;
    CloneMark clones = std::make_shared<int>();  // shared with each
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  std::vector<std::string> LockedKeys() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Run();
  void AdoptAll();
  // The next to be made, and may be now.
  Entries::iterator NextWanted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasWork() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Make(const std::string& key, const Order& order, std::stop_token cancel);
  // Whether one of `memory_mib` more keeps to the budget, once others have gone for it.
  bool MakeRoom(std::int64_t memory_mib);
  void ForgetUnused() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const guest::GuestHost host_;
  const Settings settings_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  std::int64_t counter_ ABSL_GUARDED_BY(mutex_) = 0;
  Entries entries_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int, std::less<>> starting_ ABSL_GUARDED_BY(mutex_);  // by owner
  std::string making_for_ ABSL_GUARDED_BY(mutex_);   // whose is being made; empty: none
  std::stop_source cancel_ ABSL_GUARDED_BY(mutex_);  // of that
  std::thread thread_;
};

}  // namespace kdbg::session
