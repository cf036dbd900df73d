// Watching a build to its end, with progress; and what is said then.
#pragma once

#include <string>

#include "client/commands/context.h"

namespace kdbg::client {

// Blocks until the build has ended; an interrupt leaves the build alone, says so and returns
// InterruptedError.
absl::StatusOr<v1::Build> WatchBuild(Context& context, const std::string& name);

// What it does now: "queued", "compiling".
std::string PhaseName(const v1::Build& build);

// Prints an ended build; FAILED and CANCELLED exit with 1, and a failure is told on stderr.
int ReportBuild(Context& context, const v1::Build& build);

// Creates it; then, unless `detach`, watches and reports.
enum class Detach { kNo, kYes };
CommandEnd StartBuild(Context& context, const v1::Build& wanted, Detach detach);

}  // namespace kdbg::client
