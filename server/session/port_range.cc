#include "server/session/port_range.h"

#include <fmt/format.h>

#include "proto/contract/error.h"

namespace kdbg::session {

absl::StatusOr<gdb::ReservedPort> PortRange::Take() const {
  // The kernel knows which are taken; a second book of them could only be wrong.
  for (int port = first_; port <= last_; ++port) {
    auto reserved = gdb::ReservedPort::Bind(host_, port);
    if (reserved.ok() || !absl::IsAlreadyExists(reserved.status())) return reserved;
  }
  return MakeError(absl::StatusCode::kResourceExhausted, Reason::kNoFreePort,
                   fmt::format("every gdb port from {} to {} is in use; delete a session, or ask "
                               "the admin for a wider range",
                               first_, last_),
                   {{"first_port", std::to_string(first_)}, {"last_port", std::to_string(last_)}});
}

}  // namespace kdbg::session
