// Users who come over TLS: whom an admin has enrolled, their one-time codes, and which of kdbgd's
// own certificates are good. A certificate without a record here is refused, whoever signed it.
//
// The records are in the database and also in memory, where every call looks. Thread-safe; changes
// block for the disk.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/access/attempt_limit.h"
#include "server/access/certificate_authority.h"
#include "server/access/check.h"
#include "server/access/users.h"
#include "server/base/clock.h"
#include "server/state/database.h"

namespace kdbg::access {

// What a certificate says whose signature and validity TLS has checked.
struct CertificateClaim {
  std::string common_name;
  std::string serial;  // lower-case hex
  absl::Time expire_time;
};

struct EnrolledUser {
  std::string name;
  Role role = Role::kUser;
  absl::Time create_time;
  std::optional<absl::Time> revoke_time;
  std::optional<absl::Time> code_expire_time;         // the latest
  std::optional<absl::Time> certificate_expire_time;  // the latest
  int good_certificates = 0;
};

struct OneTimeCode {
  std::string secret;  // 16 bytes; nowhere else
  absl::Time expire_time;
  bool role_changed = false;  // kUser was that of a new one
};

enum class ClientAuthority {
  kNone,   // no listener for TLS
  kOwn,    // certificates by code
  kOther,  // an organisation's: whoever it vouches for has the role of the configuration
};

class EnrolledUsers {
 public:
  static std::span<const state::Migration> Migrations();

  // `authority` for kOwn only; it outlives this.
  struct Settings {
    ClientAuthority kind = ClientAuthority::kNone;
    const CertificateAuthority* authority = nullptr;
    AccessPolicy policy;  // for kOther
    absl::Duration certificate_lifetime = absl::Hours(24 * 90);
  };
  static absl::StatusOr<std::unique_ptr<EnrolledUsers>> Open(state::Database& database,
                                                             const Clock& clock, Settings settings);

  // A code for a user, who is made or, if revoked, let in again by what comes of this code. `role`
  // nullopt: as it is, kUser for a new one. FAILED_PRECONDITION unless certificates are our own.
  absl::StatusOr<OneTimeCode> Invite(const std::string& user, std::optional<Role> role,
                                     absl::Duration ttl);
  // PERMISSION_DENIED for a code that is wrong, used or expired; RESOURCE_EXHAUSTED after too many
  // of them from `address`. INVALID_ARGUMENT for a bad request, which does not use up the code.
  absl::StatusOr<IssuedCertificate> Enroll(std::string_view secret, std::string_view request,
                                           const std::string& address);
  // FAILED_PRECONDITION for a caller without a certificate of ours.
  absl::StatusOr<IssuedCertificate> Renew(const Principal& principal, std::string_view request);

  std::vector<EnrolledUser> List() const;  // by name
  // Their certificates and codes are good no more. NOT_FOUND.
  absl::StatusOr<EnrolledUser> Revoke(const std::string& user);
  // Revoked and forgotten. OK when there is none.
  absl::Status Remove(const std::string& user);

  // For kOther, from now on.
  void SetPolicy(AccessPolicy policy);

  // UNAUTHENTICATED says why and what to do.
  absl::StatusOr<Principal> FromCertificate(const CertificateClaim& claim) const;
  bool Has(const std::string& user) const;

 private:
  struct Good {
    std::string user;
    absl::Time expire_time;
  };
  EnrolledUsers(state::Database& database, const Clock& clock, Settings settings)
      : database_(database),
        clock_(clock),
        settings_(std::move(settings)),
        attempts_(clock),
        policy_(settings_.policy) {}

  absl::Status CheckOwnAuthority() const;
  absl::Status Change(state::Database::Body body) ABSL_LOCKS_EXCLUDED(writing_, mutex_);
  absl::Status Load() ABSL_LOCKS_EXCLUDED(mutex_);

  state::Database& database_;
  const Clock& clock_;
  const Settings settings_;
  AttemptLimit attempts_;
  absl::Mutex writing_;  // held while both the database and what is below change
  mutable absl::Mutex mutex_;
  AccessPolicy policy_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, EnrolledUser> users_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Good> certificates_ ABSL_GUARDED_BY(mutex_);  // by serial
};

}  // namespace kdbg::access
