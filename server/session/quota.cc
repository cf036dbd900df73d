#include "server/session/quota.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "proto/contract/error.h"

namespace kdbg::session {
namespace {

constexpr std::size_t kNamedHolders = 5;

struct Kind {
  std::string_view name;
  std::int64_t Amount::*member;
};
constexpr Kind kKinds[] = {{"sessions", &Amount::sessions},
                           {"virtual CPUs", &Amount::vcpus},
                           {"MiB of memory", &Amount::memory_mib}};

std::optional<Shortage> Compare(Shortage::Of of, const Amount& limit, const Amount& held,
                                const Amount& wanted) {
  for (const Kind& kind : kKinds) {
    const std::int64_t most = limit.*kind.member;
    if (most == 0 || held.*kind.member + wanted.*kind.member <= most) continue;
    return Shortage{.of = of,
                    .what = kind.name,
                    .limit = most,
                    .held = held.*kind.member,
                    .wanted = wanted.*kind.member};
  }
  return std::nullopt;
}

Amount Sum(std::span<const Holding> held, const std::string_view* owner) {
  Amount sum;
  for (const Holding& holding : held) {
    if (owner != nullptr && holding.owner != *owner) continue;
    for (const Kind& kind : kKinds) sum.*kind.member += holding.amount.*kind.member;
  }
  return sum;
}

}  // namespace

std::optional<Shortage> FindShortage(const Quota& quota, std::span<const Holding> held,
                                     std::string_view owner, const Amount& wanted) {
  // The user's own limit first: that one they can do something about.
  if (auto own = Compare(Shortage::Of::kUser, quota.user, Sum(held, &owner), wanted)) return own;
  return Compare(Shortage::Of::kHost, quota.host, Sum(held, nullptr), wanted);
}

absl::Status ShortageError(const Shortage& shortage, std::span<const Holding> held,
                           std::string_view owner) {
  const bool own = shortage.of == Shortage::Of::kUser;
  std::vector<const Holding*> holders;
  for (const Holding& holding : held) {
    if (!own || holding.owner == owner) holders.push_back(&holding);
  }
  std::sort(holders.begin(), holders.end(),
            [](const Holding* a, const Holding* b) { return a->expire_time < b->expire_time; });
  std::string names;
  std::string list;
  for (std::size_t i = 0; i < std::min(holders.size(), kNamedHolders); ++i) {
    const Holding& holder = *holders[i];
    const std::string until =
        absl::FormatTime("%H:%M UTC", holder.expire_time, absl::UTCTimeZone());
    names +=
        fmt::format("{}{} ({}, until {})", i == 0 ? "" : ", ", holder.session, holder.owner, until);
    list += fmt::format("{}{}", i == 0 ? "" : " ", holder.session);
  }
  if (holders.size() > kNamedHolders) {
    names += fmt::format(" and {} more", holders.size() - kNamedHolders);
  }
  return MakeError(
      absl::StatusCode::kResourceExhausted, Reason::kQuotaExceeded,
      fmt::format(
          "{} more {} would pass the limit of {} {}: {} held by {}; delete one, or wait for "
          "room with --queue",
          shortage.wanted, shortage.what, shortage.limit,
          own ? fmt::format("for {}", owner) : "for this host", shortage.held,
          names.empty() ? "nobody" : names),
      {{"scope", own ? "user" : "host"},
       {"limit", std::to_string(shortage.limit)},
       {"held", std::to_string(shortage.held)},
       {"holders", list}});
}

}  // namespace kdbg::session
