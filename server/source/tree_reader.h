// Files of one git tree, by one `git cat-file --batch` that lives as long as this. For one thread
// at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "proto/support/subprocess.h"
#include "proto/support/unique_fd.h"
#include "server/source/git.h"

namespace kdbg::source {

class TreeReader {
 public:
  static absl::StatusOr<TreeReader> Start(const Git& git, std::string_view tree);

  // NOT_FOUND when the tree has no such file, RESOURCE_EXHAUSTED when it is longer than
  // `max_bytes`. A symbolic link reads as its target's name.
  absl::StatusOr<std::string> Read(std::string_view path,
                                   std::size_t max_bytes = std::size_t{16} << 20);

 private:
  TreeReader(Subprocess process, UniqueFd input, UniqueFd output, std::string tree);
  absl::StatusOr<std::string> ReadLine();
  // Exactly `size` bytes, kept up to `keep` of them.
  absl::StatusOr<std::string> ReadBytes(std::size_t size, std::size_t keep);
  absl::Status Fill();

  Subprocess process_;
  UniqueFd input_;
  UniqueFd output_;
  std::string tree_;
  std::string buffered_;
};

}  // namespace kdbg::source
