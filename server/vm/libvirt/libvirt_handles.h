// libvirt's reference-counted pointers with one owner each, and its last error as a Status.
#pragma once

#include <libvirt/libvirt.h>

#include <cstdlib>
#include <memory>
#include <string_view>

#include "absl/status/status.h"

namespace kdbg::vm {

struct FreeDomain {
  void operator()(virDomainPtr domain) const { virDomainFree(domain); }
};
using DomainHandle = std::unique_ptr<virDomain, FreeDomain>;

struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};
using LibvirtString = std::unique_ptr<char, FreeMemory>;

// What libvirt said last on this thread, while `doing`.
//   UNAVAILABLE          kHypervisorUnavailable: the connection, not the request
//   RESOURCE_EXHAUSTED   kOutOfMemory: the host has no memory for it
//   FAILED_PRECONDITION  kHypervisorRefused: anything else
absl::Status LastLibvirtError(std::string_view doing);

// Whether libvirt's last error on this thread is that the domain does not exist, or not any more.
bool LastErrorIsNoDomain();

}  // namespace kdbg::vm
