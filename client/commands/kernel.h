// `kdbgctl kernel build`: a source and what to make of it, as a Build.
#pragma once

#include <string>
#include <vector>

#include "client/commands/build_watch.h"
#include "client/commands/context.h"
#include "client/commands/source_import.h"

namespace kdbg::client {

struct KernelBuildOptions {
  SourceArgument source{.text = {}, .ref = {}, .sha256 = {}, .patches = {}, .project = Linux()};
  std::string name;
  std::string architecture;
  std::vector<std::string> configs;  // names or files
  std::vector<std::string> config_items;
  std::vector<std::string> make_variables;
  bool is_private = false;
  std::vector<std::string> readers;
  bool detach = false;
  bool clean = false;
  bool skip_cache = false;
};

// What of them describes the kernel, with the files they name read in.
absl::StatusOr<v1::KernelSpec> KernelSpecOf(const KernelBuildOptions& options);

CommandEnd KernelBuild(Context& context, const KernelBuildOptions& options);

// The same up to and with the end of the build; the exit code when it did not succeed is in
// `failed`.
absl::StatusOr<v1::Build> BuildKernelFor(Context& context, const KernelBuildOptions& options,
                                         int& failed);

// Prints a source that failed to import; its exit code.
int ReportSource(Context& context, const v1::Source& source);

}  // namespace kdbg::client
