// Takes what a build left behind into the store: plain files only, whatever the build planted.
// One thread.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"

namespace kdbg::build {

class Outputs {
 public:
  explicit Outputs(store::BlobStore& blobs) : blobs_(blobs) {}

  // The file at `relative` below `directory`. NOT_FOUND, FAILED_PRECONDITION (kOutputUnsafe).
  static absl::StatusOr<UniqueFd> Open(const std::filesystem::path& directory,
                                       std::string_view relative);
  // The same as text, at most `max_bytes`.
  static absl::StatusOr<std::string> Read(const std::filesystem::path& directory,
                                          std::string_view relative,
                                          std::size_t max_bytes = std::size_t{16} << 20);

  // Puts it under `path` of the artifact.
  absl::Status Take(const std::filesystem::path& directory, std::string_view relative,
                    std::string path);
  absl::Status TakeOpen(const UniqueFd& file, std::string path);
  // One with symbols: vmlinux, a module.
  absl::Status TakeProgram(const UniqueFd& file, std::string path);
  absl::Status TakeBytes(std::string_view bytes, std::string path);

  // One whose bytes are in the store already.
  void Add(store::ArtifactFile file) { files_.push_back(std::move(file)); }

  const std::vector<store::ArtifactFile>& files() const { return files_; }

 private:
  store::BlobStore& blobs_;
  std::vector<store::ArtifactFile> files_;
};

}  // namespace kdbg::build
