// The ports of sessions: a range of the host's. Those for gdb are held open from allocation to
// release; those that a guest's QEMU listens on itself are only promised, to one session each.
//
// Thread-safe. Ports that something else on the host uses are skipped.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/gdb/reserved_port.h"
#include "server/host/fd_store.h"

namespace kdbg::session {

class PortRange {
 public:
  PortRange(std::string host, int first, int last);

  // RESOURCE_EXHAUSTED (kNoFreePort). The port is free again when the handle, or the door made of
  // it, is gone.
  absl::StatusOr<gdb::ReservedPort> Take() const;

  // The port of a session of an earlier daemon: as the service manager held it, else bound anew.
  // ALREADY_EXISTS: something else has it by now.
  static absl::StatusOr<gdb::ReservedPort> TakeAgain(const std::string& host, int port,
                                                     host::FdStore* held);
  // For the service manager to hold while no daemon runs; until it is given up.
  static void Hold(const gdb::ReservedPort& port);
  static void GiveUp(const gdb::ReservedPort& port);
  // What was held of sessions that are no more.
  static void GiveUpTheRest(host::FdStore& held);

  // The number of a port of the loopback that no other session is given until this is gone.
  using Promise = std::shared_ptr<const int>;
  // A free one. RESOURCE_EXHAUSTED (kNoFreePort).
  absl::StatusOr<Promise> PromiseLoopback() const;
  // One that was promised by an earlier daemon, and may be listened on.
  Promise Keep(int port) const;

 private:
  struct Book;
  Promise MakePromise(int port) const;

  const std::string host_;
  const int first_;
  const int last_;
  const std::shared_ptr<Book> book_;
};

// What a session has of them.
struct SessionPorts {
  std::optional<gdb::ReservedPort> gdb;
  std::vector<PortRange::Promise> forwards;
};

}  // namespace kdbg::session
