// The gdb ports of sessions: a range of the host's, each port held open from allocation to release.
//
// Thread-safe. Ports that something else on the host uses are skipped.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/gdb/reserved_port.h"

namespace kdbg::session {

class PortRange {
 public:
  PortRange(std::string host, int first, int last)
      : host_(std::move(host)), first_(first), last_(last) {}

  // RESOURCE_EXHAUSTED (kNoFreePort). The port is free again when the handle, or the door made of
  // it, is gone.
  absl::StatusOr<gdb::ReservedPort> Take() const;

 private:
  const std::string host_;
  const int first_;
  const int last_;
};

}  // namespace kdbg::session
