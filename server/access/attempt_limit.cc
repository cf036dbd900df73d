#include "server/access/attempt_limit.h"

#include <cstdint>

#include "proto/contract/error.h"

namespace kdbg::access {
namespace {

constexpr std::size_t kMaxAddresses = 4096;

}  // namespace

// Forgets what is long ago.
int AttemptLimit::FailuresLocked(const std::string& address) {
  const auto found = failures_.find(address);
  if (found == failures_.end()) return 0;
  Failures& failures = found->second;
  absl::Duration rest;
  const std::int64_t forgiven =
      absl::IDivDuration(clock_.Monotonic() - failures.since, kPeriod, &rest);
  if (forgiven >= failures.count) {
    failures_.erase(found);
    return 0;
  }
  failures.count -= static_cast<int>(forgiven);
  failures.since += forgiven * kPeriod;
  return failures.count;
}

absl::Status AttemptLimit::Check(const std::string& address) {
  absl::MutexLock lock(&mutex_);
  if (FailuresLocked(address) < kAtOnce) return absl::OkStatus();
  return MakeError(absl::StatusCode::kResourceExhausted, Reason::kTooManyCalls,
                   "too many wrong enrolment codes came from this address: wait, or ask an admin "
                   "for a new code",
                   {{"limit", std::to_string(kAtOnce)}}, kPeriod);
}

void AttemptLimit::Failed(const std::string& address) {
  absl::MutexLock lock(&mutex_);
  if (failures_.size() >= kMaxAddresses) failures_.clear();
  const int before = FailuresLocked(address);
  Failures& failures = failures_[address];
  if (before == 0) failures.since = clock_.Monotonic();
  failures.count = before + 1;
}

}  // namespace kdbg::access
