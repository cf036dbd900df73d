#include "server/access/enrolled_users.h"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "proto/contract/enrollment_code.h"
#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"

namespace kdbg::access {
namespace {

constexpr std::int64_t kMostCertificates = 64;  // of one user

using state::Row;
using state::Transaction;

constexpr absl::Duration kLongestCode = absl::Hours(24 * 7);
constexpr std::size_t kLongestName = 64;  // of a certificate's subject, too

// A code is stored as its SHA-256: 128 random bits need no salt and no slow hash, and who reads the
// database learns no code. It is found by that hash, so that the time of the search tells nothing.
constexpr state::Migration kMigrations[] = {{
    .module = "enrolled_users",
    .version = 1,
    .sql = R"(
      CREATE TABLE enrolled_users (
        name TEXT PRIMARY KEY,
        role INTEGER NOT NULL,
        create_time INTEGER NOT NULL,
        revoke_time INTEGER);
      CREATE TABLE enrollment_codes (
        sha256 TEXT PRIMARY KEY,
        user TEXT NOT NULL,
        expire_time INTEGER NOT NULL);
      CREATE TABLE certificates (
        serial TEXT PRIMARY KEY,
        user TEXT NOT NULL,
        expire_time INTEGER NOT NULL);
    )",
}};

absl::Status CheckName(std::string_view name) {
  const bool begins_well =
      !name.empty() && (absl::ascii_isalpha(static_cast<unsigned char>(name[0])) || name[0] == '_');
  if (begins_well && name.size() <= kLongestName && IsResourceId(name)) return absl::OkStatus();
  return InvalidField("user", name.substr(0, kLongestName),
                      fmt::format("a user's name has 1 to {} letters, digits, '.', '_' and '-', "
                                  "and begins with a letter or '_'",
                                  kLongestName));
}

absl::Status Unauthenticated(std::string_view message) {
  return MakeError(absl::StatusCode::kUnauthenticated, Reason::kUnauthenticated, message);
}

absl::Status BadCode() {
  return MakeError(absl::StatusCode::kPermissionDenied, Reason::kPermissionDenied,
                   "the enrolment code is wrong, used or expired: ask an admin for a new one "
                   "(kdbgd user add NAME)");
}

absl::Status DeleteGoodOf(Transaction& transaction, const std::string& user) {
  KDBG_RETURN_IF_ERROR(
      transaction.Execute("DELETE FROM enrollment_codes WHERE user = ?", user).status());
  return transaction.Execute("DELETE FROM certificates WHERE user = ?", user).status();
}

absl::Status AddCertificate(Transaction& transaction, const IssuedCertificate& issued,
                            const std::string& user) {
  return transaction
      .Execute("INSERT INTO certificates (serial, user, expire_time) VALUES (?, ?, ?)",
               issued.serial, user, issued.expire_time)
      .status();
}

// A machine renews in the last third of a certificate's life, so it has two at most.
absl::Status CheckRoomForOne(Transaction& transaction, const std::string& user) {
  std::int64_t count = 0;
  KDBG_RETURN_IF_ERROR(transaction.Query("SELECT COUNT(*) FROM certificates WHERE user = ?", user,
                                         [&](const Row& row) {
                                           count = row.Integer(0);
                                           return absl::OkStatus();
                                         }));
  if (count < kMostCertificates) return absl::OkStatus();
  return MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaExceeded,
                   fmt::format("{} has {} certificates that are good, the most there may be: ask "
                               "an admin to revoke them and to let you in anew",
                               user, count));
}

void Later(std::optional<absl::Time>* latest, absl::Time time) {
  if (!*latest || **latest < time) *latest = time;
}

}  // namespace

std::span<const state::Migration> EnrolledUsers::Migrations() { return kMigrations; }

absl::StatusOr<std::unique_ptr<EnrolledUsers>> EnrolledUsers::Open(state::Database& database,
                                                                   const Clock& clock,
                                                                   Settings settings) {
  std::unique_ptr<EnrolledUsers> users(new EnrolledUsers(database, clock, std::move(settings)));
  KDBG_RETURN_IF_ERROR(users->Load());
  return users;
}

absl::Status EnrolledUsers::CheckOwnAuthority() const {
  if (settings_.kind == ClientAuthority::kOwn) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
      settings_.kind == ClientAuthority::kNone
          ? "this server does not listen on TCP: add an address such as \"0.0.0.0:7443\" to "
            "server.listen and a [tls] section to its configuration, then restart it"
          : "this server takes certificates of tls.client_ca only: get one there");
}

absl::Status EnrolledUsers::Load() {
  std::map<std::string, EnrolledUser> users;
  std::map<std::string, Good> certificates;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) -> absl::Status {
    KDBG_RETURN_IF_ERROR(transaction.Query(
        "SELECT name, role, create_time, revoke_time FROM enrolled_users", [&](const Row& row) {
          EnrolledUser& user = users[row.Text(0)];
          user.name = row.Text(0);
          user.role = row.As<Role>(1);
          user.create_time = row.Time(2);
          user.revoke_time = row.OptionalTime(3);
          return absl::OkStatus();
        }));
    KDBG_RETURN_IF_ERROR(
        transaction.Query("SELECT user, expire_time FROM enrollment_codes", [&](const Row& row) {
          Later(&users[row.Text(0)].code_expire_time, row.Time(1));
          return absl::OkStatus();
        }));
    return transaction.Query("SELECT serial, user, expire_time FROM certificates",
                             [&](const Row& row) {
                               Later(&users[row.Text(1)].certificate_expire_time, row.Time(2));
                               certificates[row.Text(0)] = {row.Text(1), row.Time(2)};
                               return absl::OkStatus();
                             });
  }));
  absl::MutexLock lock(&mutex_);
  users_ = std::move(users);
  certificates_ = std::move(certificates);
  return absl::OkStatus();
}

absl::Status EnrolledUsers::Change(state::Database::Body body) {
  absl::MutexLock lock(&writing_);
  KDBG_RETURN_IF_ERROR(database_.Write(body));
  return Load();
}

absl::StatusOr<OneTimeCode> EnrolledUsers::Invite(const std::string& user, std::optional<Role> role,
                                                  absl::Duration ttl) {
  KDBG_RETURN_IF_ERROR(CheckOwnAuthority());
  KDBG_RETURN_IF_ERROR(CheckName(user));
  if (ttl < absl::Minutes(1) || ttl > kLongestCode) {
    return InvalidField("ttl", absl::FormatDuration(ttl),
                        "a code lives for one minute at least and for a week at most");
  }
  OneTimeCode code{.secret = std::string(EnrollmentCode::kSecretBytes, '\0'),
                   .expire_time = clock_.Now() + ttl};
  if (RAND_bytes(reinterpret_cast<unsigned char*>(code.secret.data()),
                 static_cast<int>(code.secret.size())) != 1) {
    return absl::InternalError("no random numbers");
  }
  const absl::Time now = clock_.Now();
  KDBG_RETURN_IF_ERROR(Change([&](Transaction& transaction) -> absl::Status {
    KDBG_RETURN_IF_ERROR(
        transaction.Execute("DELETE FROM enrollment_codes WHERE expire_time <= ?", now).status());
    KDBG_RETURN_IF_ERROR(transaction
                             .Execute("INSERT INTO enrolled_users (name, role, create_time) "
                                      "VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                                      "revoke_time = NULL",
                                      user, Role::kUser, now)
                             .status());
    if (role) {
      KDBG_ASSIGN_OR_RETURN(
          const std::int64_t changed,
          transaction.Execute("UPDATE enrolled_users SET role = ?1 WHERE name = ?2 AND role != ?1",
                              *role, user));
      code.role_changed = changed > 0;
    }
    return transaction
        .Execute("INSERT INTO enrollment_codes (sha256, user, expire_time) VALUES (?, ?, ?)",
                 Sha256Hex(code.secret), user, code.expire_time)
        .status();
  }));
  return code;
}

absl::StatusOr<IssuedCertificate> EnrolledUsers::Enroll(std::string_view secret,
                                                        std::string_view request,
                                                        const std::string& address) {
  KDBG_RETURN_IF_ERROR(CheckOwnAuthority());
  KDBG_RETURN_IF_ERROR(attempts_.Check(address));
  const std::string hash = Sha256Hex(secret);
  const absl::Time now = clock_.Now();
  std::string user;
  KDBG_RETURN_IF_ERROR(database_.Read([&](Transaction& transaction) {
    return transaction.Query(
        "SELECT user FROM enrollment_codes WHERE sha256 = ? AND expire_time > ?", hash, now,
        [&](const Row& row) {
          user = row.Text(0);
          return absl::OkStatus();
        });
  }));
  if (user.empty()) {
    attempts_.Failed(address);
    return BadCode();
  }
  KDBG_ASSIGN_OR_RETURN(
      const IssuedCertificate issued,
      settings_.authority->IssueToUser(user, request, now, settings_.certificate_lifetime));
  KDBG_RETURN_IF_ERROR(Change([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(
        const std::int64_t used,
        transaction.Execute("DELETE FROM enrollment_codes WHERE sha256 = ? AND user = ?", hash,
                            user));
    if (used != 1) return BadCode();  // another call was faster
    return AddCertificate(transaction, issued, user);
  }));
  return issued;
}

absl::StatusOr<IssuedCertificate> EnrolledUsers::Renew(const Principal& principal,
                                                       std::string_view request) {
  KDBG_RETURN_IF_ERROR(CheckOwnAuthority());
  if (principal.certificate.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                     "you came without a certificate: there is none to renew");
  }
  const absl::Time now = clock_.Now();
  KDBG_ASSIGN_OR_RETURN(const IssuedCertificate issued,
                        settings_.authority->IssueToUser(principal.user, request, now,
                                                         settings_.certificate_lifetime));
  KDBG_RETURN_IF_ERROR(Change([&](Transaction& transaction) -> absl::Status {
    KDBG_RETURN_IF_ERROR(
        transaction.Execute("DELETE FROM certificates WHERE expire_time <= ?", now).status());
    bool good = false;
    KDBG_RETURN_IF_ERROR(transaction.Query("SELECT 1 FROM certificates WHERE serial = ?",
                                           principal.certificate, [&](const Row&) {
                                             good = true;
                                             return absl::OkStatus();
                                           }));
    if (!good) return Unauthenticated("the certificate was revoked meanwhile: ask an admin");
    KDBG_RETURN_IF_ERROR(CheckRoomForOne(transaction, principal.user));
    return AddCertificate(transaction, issued, principal.user);
  }));
  return issued;
}

std::vector<EnrolledUser> EnrolledUsers::List() const {
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mutex_);
  std::vector<EnrolledUser> list;
  for (const auto& known : users_) {
    list.push_back(known.second);
    list.back().good_certificates = static_cast<int>(
        std::count_if(certificates_.begin(), certificates_.end(), [&](const auto& entry) {
          return entry.second.user == known.first && entry.second.expire_time > now;
        }));
  }
  return list;
}

absl::StatusOr<EnrolledUser> EnrolledUsers::Revoke(const std::string& user) {
  KDBG_RETURN_IF_ERROR(Change([&](Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(
        const std::int64_t found,
        transaction.Execute("UPDATE enrolled_users SET revoke_time = COALESCE(revoke_time, ?) "
                            "WHERE name = ?",
                            clock_.Now(), user));
    if (found == 0) return ResourceNotFound(ResourceName(kUsers, user));
    return DeleteGoodOf(transaction, user);
  }));
  absl::MutexLock lock(&mutex_);
  const auto found = users_.find(user);
  if (found == users_.end()) return ResourceNotFound(ResourceName(kUsers, user));
  return found->second;
}

absl::Status EnrolledUsers::Remove(const std::string& user) {
  return Change([&](Transaction& transaction) -> absl::Status {
    KDBG_RETURN_IF_ERROR(
        transaction.Execute("DELETE FROM enrolled_users WHERE name = ?", user).status());
    return DeleteGoodOf(transaction, user);
  });
}

void EnrolledUsers::SetPolicy(AccessPolicy policy) {
  absl::MutexLock lock(&mutex_);
  policy_ = std::move(policy);
}

absl::StatusOr<Principal> EnrolledUsers::FromCertificate(const CertificateClaim& claim) const {
  if (clock_.Now() >= claim.expire_time) {
    return Unauthenticated(
        "the certificate has expired: ask an admin for a code (kdbgd user add NAME) and use it "
        "with kdbgctl login");
  }
  if (settings_.kind == ClientAuthority::kOther) {
    if (!CheckName(claim.common_name).ok()) {
      return Unauthenticated(
          "the certificate names nobody this server could know: its subject needs one common "
          "name of letters, digits, '.', '_' and '-'");
    }
    absl::MutexLock lock(&mutex_);
    const auto entry = policy_.users.find(claim.common_name);
    return Principal{.user = claim.common_name,
                     .role = entry != policy_.users.end() ? entry->second : policy_.others,
                     .uid = std::nullopt,
                     .certificate = claim.serial};
  }
  absl::MutexLock lock(&mutex_);
  const auto good = certificates_.find(claim.serial);
  if (good == certificates_.end()) {
    return Unauthenticated(
        "the certificate is not or no longer one this server knows: it was revoked, or enrolled "
        "with another server; ask an admin for a code (kdbgd user add NAME)");
  }
  const auto user = users_.find(good->second.user);
  if (user == users_.end() || user->second.revoke_time) {
    return Unauthenticated("access was revoked: ask an admin");
  }
  return Principal{.user = user->second.name,
                   .role = user->second.role,
                   .uid = std::nullopt,
                   .certificate = claim.serial};
}

bool EnrolledUsers::Has(const std::string& user) const {
  absl::MutexLock lock(&mutex_);
  return users_.contains(user);
}

}  // namespace kdbg::access
