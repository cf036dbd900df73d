// From what the user wrote for SOURCE to a source that is READY on the server.
#pragma once

#include <string>
#include <vector>

#include "client/commands/context.h"
#include "client/source/content_check.h"

namespace kdbg::client {

struct SourceArgument {
  std::string text;    // a directory or tarball here, server:/PATH, sources/ID, or a URL
  std::string ref;     // of a git URL, or of the repository a directory is in
  std::string sha256;  // that a tarball of a URL must have; empty: any
  std::vector<std::string> patches;  // files, applied in order
  Project project;                   // what it must be
};

// Uploads what the server does not have, waits for the import and shows both. A source that fails
// to import is returned FAILED, not as an error.
absl::StatusOr<v1::Source> ImportSource(Context& context, const SourceArgument& argument);

// The line of work a source is by itself, for builds that have no name of their own; empty when it
// is none.
std::string LineOfWorkOf(const SourceArgument& argument);

// The caller's newest READY source of a project ("busybox"). NOT_FOUND otherwise.
absl::StatusOr<v1::Source> NewestSource(Context& context, const std::string& project);

}  // namespace kdbg::client
