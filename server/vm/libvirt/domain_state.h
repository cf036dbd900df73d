// Saving and loading the state of one domain by QEMU's migration, at rest on both ends.
#pragma once

#include <libvirt/libvirt.h>

#include <stop_token>

#include "absl/status/status.h"
#include "server/vm/hypervisor.h"

namespace kdbg::vm {

// As Hypervisor::SaveState and LoadState.
absl::Status SaveDomainState(virDomainPtr domain, const StateChannel& channel, int file,
                             std::stop_token cancel);
absl::Status LoadDomainState(virDomainPtr domain, const StateChannel& channel, int file);

}  // namespace kdbg::vm
