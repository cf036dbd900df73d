// How much of the host sessions may hold, each user's and all together. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace kdbg::session {

struct Amount {
  std::int64_t sessions = 0;
  std::int64_t vcpus = 0;
  std::int64_t memory_mib = 0;
};

struct Quota {
  Amount user;  // of each; 0: no limit of this kind
  Amount host;  // of all
};

// One session that has not ended.
struct Holding {
  std::string session;
  std::string owner;
  Amount amount;
  absl::Time expire_time;
};

struct Shortage {
  enum class Of { kUser, kHost };
  Of of = Of::kHost;
  std::string_view what;  // "sessions", "virtual CPUs", "MiB of memory"
  std::int64_t limit = 0;
  std::int64_t held = 0;
  std::int64_t wanted = 0;
};

// What keeps `owner` from holding `wanted` more; nullopt: nothing.
std::optional<Shortage> FindShortage(const Quota& quota, std::span<const Holding> held,
                                     std::string_view owner, const Amount& wanted);

// RESOURCE_EXHAUSTED (kQuotaExceeded) for it, naming who holds what until when; the message says
// what to do.
absl::Status ShortageError(const Shortage& shortage, std::span<const Holding> held,
                           std::string_view owner);

}  // namespace kdbg::session
