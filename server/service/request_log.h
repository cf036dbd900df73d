// Creating something once for each request_id: a repeat within a day answers with what the first
// one made.
//
// Thread-safe; blocks for the disk, and a repeat for the first one while it is still at work. A
// crash of the daemon between making and noting leaves the repeat to make another: leases end what
// nobody uses.
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"
#include "server/state/database.h"

namespace kdbg::service {

class RequestLog {
 public:
  static std::span<const state::Migration> Migrations();

  RequestLog(state::Database& database, const Clock& clock) : database_(database), clock_(clock) {}

  // The id of what `create` made, now or the first time. Without a request_id it always creates.
  // INVALID_ARGUMENT when the id came before with another request (`fingerprint`).
  absl::StatusOr<std::string> Once(const std::string& user, std::string_view method,
                                   const std::string& request_id, const std::string& fingerprint,
                                   absl::FunctionRef<absl::StatusOr<std::string>()> create);

 private:
  struct Turn;
  absl::StatusOr<std::string> Find(const std::string& key, const std::string& fingerprint) const;
  absl::Status Note(const std::string& key, const std::string& fingerprint,
                    const std::string& resource);

  state::Database& database_;
  const Clock& clock_;
  absl::Mutex mutex_;
  std::set<std::string> at_work_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::service
