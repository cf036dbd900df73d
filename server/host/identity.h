// Who a process of the host runs as.
#pragma once

#include <sys/types.h>

namespace kdbg::host {

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  bool operator==(const Identity&) const = default;
};

}  // namespace kdbg::host
