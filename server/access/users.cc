#include "server/access/users.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string>
#include <vector>

namespace kdbg::access {
namespace {

constexpr absl::Duration kKeepFor = absl::Minutes(1);
constexpr std::size_t kMaxKnown = 4096;

// The *_r functions of NSS say ERANGE until the buffer is large enough.
template <typename Entry, typename Function>
bool Query(Function function, Entry* entry, std::vector<char>* buffer) {
  buffer->resize(4096);
  while (true) {
    Entry* result = nullptr;
    const int error = function(entry, buffer->data(), buffer->size(), &result);
    if (error == ERANGE && buffer->size() < (std::size_t{1} << 20)) {
      buffer->resize(buffer->size() * 2);
      continue;
    }
    return error == 0 && result != nullptr;
  }
}

std::optional<std::string> GroupName(gid_t gid) {
  struct group entry = {};
  std::vector<char> buffer;
  const auto by_gid = [gid](struct group* out, char* data, std::size_t size,
                            struct group** result) {
    return ::getgrgid_r(gid, out, data, size, result);
  };
  if (!Query(by_gid, &entry, &buffer)) return std::nullopt;
  return std::string(entry.gr_name);
}

}  // namespace

AccessPolicy PolicyFrom(const config::Access& access) {
  AccessPolicy policy;
  for (const std::string& name : access.viewers) policy.users[name] = Role::kViewer;
  for (const std::string& name : access.admins) policy.users[name] = Role::kAdmin;
  policy.others = access.others_are_users ? Role::kUser : Role::kNone;
  return policy;
}

std::optional<Account> SystemAccounts::Find(uid_t uid) const {
  struct passwd entry = {};
  std::vector<char> buffer;
  const auto by_uid = [uid](struct passwd* out, char* data, std::size_t size,
                            struct passwd** result) {
    return ::getpwuid_r(uid, out, data, size, result);
  };
  if (!Query(by_uid, &entry, &buffer)) return std::nullopt;
  Account account{.name = entry.pw_name, .groups = {}};
  int count = 64;
  std::vector<gid_t> gids(static_cast<std::size_t>(count));
  if (::getgrouplist(entry.pw_name, entry.pw_gid, gids.data(), &count) < 0) {
    gids.resize(static_cast<std::size_t>(count));
    if (::getgrouplist(entry.pw_name, entry.pw_gid, gids.data(), &count) < 0) count = 0;
  }
  gids.resize(static_cast<std::size_t>(count));
  for (const gid_t gid : gids) {
    if (auto name = GroupName(gid); name) account.groups.push_back(*std::move(name));
  }
  return account;
}

std::optional<uid_t> SystemAccounts::UidOf(const std::string& name) const {
  struct passwd entry = {};
  std::vector<char> buffer;
  const auto by_name = [&name](struct passwd* out, char* data, std::size_t size,
                               struct passwd** result) {
    return ::getpwnam_r(name.c_str(), out, data, size, result);
  };
  if (!Query(by_name, &entry, &buffer)) return std::nullopt;
  return entry.pw_uid;
}

Users::Users(AccessPolicy policy, const Accounts& accounts, const Clock& clock, uid_t own_uid)
    : accounts_(accounts),
      clock_(clock),
      own_uid_(own_uid),
      policy_(std::make_shared<AccessPolicy>(std::move(policy))) {}

void Users::SetPolicy(AccessPolicy policy) {
  absl::MutexLock lock(&mutex_);
  policy_ = std::make_shared<AccessPolicy>(std::move(policy));
  known_.clear();
}

Principal Users::FromUid(uid_t uid) {
  const absl::Duration now = clock_.Monotonic();
  std::shared_ptr<const AccessPolicy> policy;
  {
    absl::MutexLock lock(&mutex_);
    policy = policy_;
    const auto found = known_.find(uid);
    if (found != known_.end() && now < found->second.until) return found->second.principal;
  }
  Principal principal = LookUp(*policy, uid);  // may block: no lock held
  {
    absl::MutexLock lock(&mutex_);
    if (policy == policy_) {
      if (known_.size() >= kMaxKnown) known_.clear();
      known_[uid] = {principal, now + kKeepFor};
      return principal;
    }
  }
  return FromUid(uid);  // another policy has come meanwhile
}

std::optional<uid_t> Users::UidOf(const std::string& user) const {
  constexpr std::string_view kUid = "uid:";
  if (!user.starts_with(kUid)) return accounts_.UidOf(user);
  uid_t uid = 0;
  const char* end = user.data() + user.size();
  const auto [stop, error] = std::from_chars(user.data() + kUid.size(), end, uid);
  if (error != std::errc() || stop != end) return std::nullopt;
  return uid;
}

Principal Users::LookUp(const AccessPolicy& policy, uid_t uid) const {
  const std::string fallback = fmt::format("uid:{}", uid);  // no account name has a colon
  const std::optional<Account> account = accounts_.Find(uid);
  Principal principal{
      .user = account ? account->name : fallback, .role = policy.others, .uid = uid};
  if (uid == 0 || uid == own_uid_) {
    principal.role = Role::kAdmin;
    return principal;
  }
  for (const std::string& name : {principal.user, fallback}) {
    const auto own_entry = policy.users.find(name);
    if (own_entry == policy.users.end()) continue;
    principal.role = own_entry->second;
    return principal;
  }
  std::optional<Role> by_group;
  for (const std::string& group : account ? account->groups : std::vector<std::string>{}) {
    const auto entry = policy.groups.find(group);
    if (entry == policy.groups.end()) continue;
    by_group = std::max(by_group.value_or(Role::kNone), entry->second);
  }
  if (by_group) principal.role = *by_group;
  return principal;
}

}  // namespace kdbg::access
