#include "client/commands/packed_upload.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "client/commands/upload.h"
#include "client/output/progress.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"
#include "proto/support/subprocess.h"
#include "proto/support/unique_fd.h"

namespace kdbg::client {
namespace {

// A file of ours in the folder for such, gone with this.
class TemporaryFile {
 public:
  static absl::StatusOr<TemporaryFile> Make() {
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
    std::string path =
        ((error ? std::filesystem::path("/tmp") : folder) / "kdbgctl-XXXXXX").string();
    const UniqueFd file(::mkstemp(path.data()));
    if (!file) return ErrnoError(errno, fmt::format("make {}", path));
    return TemporaryFile(std::move(path));
  }
  TemporaryFile(TemporaryFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFile& operator=(TemporaryFile&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

absl::StatusOr<TemporaryFile> Pack(std::string_view option, const std::string& directory) {
  KDBG_ASSIGN_OR_RETURN(TemporaryFile tarball, TemporaryFile::Make());
  Subprocess::Options tar;
  tar.argv = {
      "tar",          "--sort=name", "--mtime=@0", "--owner=0", "--group=0",    "--numeric-owner",
      "--format=gnu", "-C",          directory,    "-cf",       tarball.path(), "."};
  KDBG_ASSIGN_OR_RETURN(const CommandResult result, RunCommand(tar));
  if (result.status.ok()) return tarball;
  return absl::FailedPreconditionError(fmt::format("{} {}: it cannot be packed: {}", option,
                                                   directory, result.error.substr(0, 500)));
}

}  // namespace

absl::StatusOr<v1::Upload> UploadTar(Context& context, std::string_view option,
                                     const std::string& path) {
  std::error_code error;
  std::optional<TemporaryFile> packed;
  if (std::filesystem::is_directory(path, error)) {
    KDBG_ASSIGN_OR_RETURN(packed, Pack(option, path));
  }
  Progress progress(context.output());
  KDBG_ASSIGN_OR_RETURN(const LocalFile file,
                        OpenAndHash(packed ? packed->path() : path, progress));
  return UploadFile(context, file, progress);
}

}  // namespace kdbg::client
