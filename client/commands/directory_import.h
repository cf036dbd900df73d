// A directory on this machine as a source on the server: what changed since the last time travels.
#pragma once

#include <filesystem>
#include <string>

#include "client/commands/context.h"
#include "client/output/progress.h"
#include "client/source/snapshot.h"

namespace kdbg::client {

// The source, perhaps still IMPORTING.
absl::StatusOr<v1::Source> ImportDirectory(Context& context, SnapshotRequest request,
                                           Progress& progress);

// The line of work that a directory is by itself: its name and what tells it from its namesakes on
// this and other machines, of [a-z0-9._-].
std::string LineOfWork(const std::filesystem::path& directory);

}  // namespace kdbg::client
