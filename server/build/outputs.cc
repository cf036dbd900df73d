#include "server/build/outputs.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"
#include "server/build/vmlinux_check.h"
#include "server/host/secure_open.h"

namespace kdbg::build {

absl::StatusOr<UniqueFd> Outputs::Open(const std::filesystem::path& directory,
                                       std::string_view relative) {
  KDBG_ASSIGN_OR_RETURN(const UniqueFd folder, host::OpenDirectory(directory));
  return host::OpenBeneath(folder.get(), relative);
}

absl::StatusOr<std::string> Outputs::Read(const std::filesystem::path& directory,
                                          std::string_view relative, std::size_t max_bytes) {
  KDBG_ASSIGN_OR_RETURN(const UniqueFd file, Open(directory, relative));
  struct stat about = {};
  if (::fstat(file.get(), &about) != 0) return ErrnoError(errno, fmt::format("stat {}", relative));
  if (about.st_size > static_cast<off_t>(max_bytes)) {
    return absl::ResourceExhaustedError(fmt::format("{} is longer than {}", relative, max_bytes));
  }
  std::string text(static_cast<std::size_t>(about.st_size), '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t got =
        ::pread(file.get(), text.data() + done, text.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, fmt::format("read {}", relative));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

absl::Status Outputs::Take(const std::filesystem::path& directory, std::string_view relative,
                           std::string path) {
  KDBG_ASSIGN_OR_RETURN(const UniqueFd file, Open(directory, relative));
  return TakeOpen(file, std::move(path));
}

absl::Status Outputs::TakeOpen(const UniqueFd& file, std::string path) {
  KDBG_ASSIGN_OR_RETURN(const store::Blob blob, blobs_.Put(file));
  files_.push_back({std::move(path), blob.digest, blob.size_bytes});
  return absl::OkStatus();
}

absl::Status Outputs::TakeProgram(const UniqueFd& file, std::string path) {
  KDBG_RETURN_IF_ERROR(TakeOpen(file, std::move(path)));
  files_.back().gnu_build_id = GnuBuildIdOf(file);
  return absl::OkStatus();
}

absl::Status Outputs::TakeBytes(std::string_view bytes, std::string path) {
  KDBG_ASSIGN_OR_RETURN(const store::Blob blob, blobs_.PutBytes(bytes));
  files_.push_back({std::move(path), blob.digest, blob.size_bytes});
  return absl::OkStatus();
}

}  // namespace kdbg::build
