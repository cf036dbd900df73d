// Finds out what sandboxes are worth on this host, by trying to break the limits of small ones.
#pragma once

#include "server/host/sandbox.h"
#include "server/runner/supervisor.h"

namespace kdbg::runner {

host::SandboxAbility Probe(Supervisor& supervisor, const host::CgroupHome& cgroups);

}  // namespace kdbg::runner
