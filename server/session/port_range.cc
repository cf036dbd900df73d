#include "server/session/port_range.h"

#include <fmt/format.h>

#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "proto/contract/error.h"
#include "proto/support/status_macros.h"

namespace kdbg::session {
namespace {

constexpr char kLoopback[] = "127.0.0.1";

absl::StatusOr<gdb::ReservedPort> FirstFree(const std::string& host, int first, int last,
                                            const std::set<int>& promised) {
  for (int port = first; port <= last; ++port) {
    if (promised.contains(port)) continue;
    auto reserved = gdb::ReservedPort::Bind(host, port);
    if (reserved.ok() || !absl::IsAlreadyExists(reserved.status())) return reserved;
  }
  return MakeError(absl::StatusCode::kResourceExhausted, Reason::kNoFreePort,
                   fmt::format("every port from {} to {} is in use; delete a session, or ask the "
                               "admin for a wider range",
                               first, last),
                   {{"first_port", std::to_string(first)}, {"last_port", std::to_string(last)}});
}

constexpr std::string_view kHeldPrefix = "gdb-";

std::string NameOf(int port) { return fmt::format("{}{}", kHeldPrefix, port); }

}  // namespace

// The kernel knows which ports are taken; here are those that are to be, too.
struct PortRange::Book {
  absl::Mutex mutex;
  std::set<int> promised ABSL_GUARDED_BY(mutex);
};

PortRange::PortRange(std::string host, int first, int last)
    : host_(std::move(host)), first_(first), last_(last), book_(std::make_shared<Book>()) {}

absl::StatusOr<gdb::ReservedPort> PortRange::Take() const {
  absl::MutexLock lock(&book_->mutex);
  return FirstFree(host_, first_, last_, book_->promised);
}

absl::StatusOr<gdb::ReservedPort> PortRange::TakeAgain(const std::string& host, int port,
                                                       host::FdStore* held) {
  if (auto fd = held != nullptr ? held->Take(NameOf(port)) : std::nullopt) {
    auto adopted = gdb::ReservedPort::Adopt(*std::move(fd));
    if (adopted.ok() && adopted->port() == port) return adopted;
  }
  return gdb::ReservedPort::Bind(host, port);
}

void PortRange::Hold(const gdb::ReservedPort& port) {
  host::FdStore::Hold(NameOf(port.port()), port.fd());
}

void PortRange::GiveUp(const gdb::ReservedPort& port) { host::FdStore::LetGo(NameOf(port.port())); }

void PortRange::GiveUpTheRest(host::FdStore& held) { held.LetGoOfTheRest(kHeldPrefix); }

absl::StatusOr<PortRange::Promise> PortRange::PromiseLoopback() const {
  absl::MutexLock lock(&book_->mutex);
  KDBG_ASSIGN_OR_RETURN(const gdb::ReservedPort free,
                        FirstFree(kLoopback, first_, last_, book_->promised));
  book_->promised.insert(free.port());
  return MakePromise(free.port());
}

PortRange::Promise PortRange::Keep(int port) const {
  absl::MutexLock lock(&book_->mutex);
  book_->promised.insert(port);
  return MakePromise(port);
}

PortRange::Promise PortRange::MakePromise(int port) const {
  return Promise(new int(port), [book = book_](const int* promised) {
    {
      absl::MutexLock lock(&book->mutex);
      book->promised.erase(*promised);
    }
    delete promised;
  });
}

}  // namespace kdbg::session
