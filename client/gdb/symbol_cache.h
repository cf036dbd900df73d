// Symbols on this machine, one directory per GNU build id below $XDG_CACHE_HOME/kdbg, fetched once.
// Where the server's own files can be read in place, vmlinux is not copied at all.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "client/channel/server.h"
#include "client/output/progress.h"
#include "client/terminal/interrupt.h"

namespace kdbg::client {

struct Symbols {
  std::filesystem::path vmlinux;
  std::filesystem::path
      index_directory;  // gdb's index cache; holds <build id>.gdb-index when the artifact has one
  std::filesystem::path scripts;  // vmlinux-gdb.py; empty when not asked for or not built
  // vmlinux and modules as in the directory they were built in, for lx-symbols; with the scripts
  std::filesystem::path build_directory;
};

enum class Scripts { kNo, kYes };

class SymbolCache {
 public:
  explicit SymbolCache(std::filesystem::path root) : root_(std::move(root)) {}

  // FAILED_PRECONDITION for an artifact that is no kernel with debug information.
  absl::StatusOr<Symbols> Fetch(Server& server, Interrupt& interrupt, Progress& progress,
                                const v1::Artifact& kernel, Scripts scripts) const;

  // One module of it with its debug information.
  absl::StatusOr<std::filesystem::path> FetchModule(Server& server, Interrupt& interrupt,
                                                    Progress& progress, const v1::Artifact& kernel,
                                                    const v1::ArtifactFile& module) const;

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path DirectoryOf(const v1::Artifact& kernel) const;

 private:
  std::filesystem::path root_;
};

}  // namespace kdbg::client
