#include "server/service/call_budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"

namespace kdbg::service {
namespace {

// Beyond it those who owe nothing are forgotten. Whoever is left has a connection.
constexpr std::size_t kManyCallers = 4096;

}  // namespace

CallBudget::Spent& CallBudget::SpentLocked(const std::string& caller) {
  if (callers_.size() >= kManyCallers) {
    const absl::Duration now = clock_.Monotonic();
    std::erase_if(callers_, [&](const auto& each) {
      const Spent& spent = each.second;
      return spent.paid_until <= now && spent.short_calls + spent.long_calls == 0;
    });
  }
  return callers_[caller];
}

absl::Status CallBudget::PayLocked(Spent& spent) {
  const absl::Duration now = clock_.Monotonic();
  const absl::Duration price = absl::Seconds(1) / limits_.calls_per_second;
  const absl::Duration paid_until = std::max(spent.paid_until, now) + price;
  const absl::Duration ahead = paid_until - now - price * limits_.burst;
  if (ahead > absl::ZeroDuration()) {
    return MakeError(absl::StatusCode::kResourceExhausted, Reason::kTooManyCalls,
                     fmt::format("you make more than {} calls a second: watch (kdbgctl ... wait, "
                                 "--watch) instead of asking again and again",
                                 limits_.calls_per_second),
                     {{"limit", std::to_string(limits_.calls_per_second)}}, ahead);
  }
  spent.paid_until = paid_until;
  return absl::OkStatus();
}

absl::Status CallBudget::Begin(const std::string& caller) {
  absl::MutexLock lock(&mutex_);
  return PayLocked(SpentLocked(caller));
}

absl::StatusOr<Place> CallBudget::Enter(const std::string& caller, CallLength length) {
  const bool is_long = length == CallLength::kLong;
  absl::MutexLock lock(&mutex_);
  Spent& spent = SpentLocked(caller);
  int& count = is_long ? spent.long_calls : spent.short_calls;
  const int limit = is_long ? limits_.long_calls_at_once : limits_.calls_at_once;
  if (count >= limit) {
    return MakeError(
        absl::StatusCode::kResourceExhausted, Reason::kTooManyCalls,
        fmt::format("{} calls of yours wait or are worked on already: wait for one to be answered",
                    limit),
        {{"limit", std::to_string(limit)}}, absl::Seconds(1));
  }
  KDBG_RETURN_IF_ERROR(PayLocked(spent));
  ++count;
  return Place([this, caller, length] { Leave(caller, length); });
}

void CallBudget::Leave(const std::string& caller, CallLength length) {
  absl::MutexLock lock(&mutex_);
  Spent& spent = callers_.at(caller);
  --(length == CallLength::kLong ? spent.long_calls : spent.short_calls);
}

}  // namespace kdbg::service
