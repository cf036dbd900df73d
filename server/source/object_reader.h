// Git objects one after the other, by one `git cat-file --batch` that lives as long as this. For
// one thread at a time.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "proto/support/subprocess.h"
#include "proto/support/unique_fd.h"
#include "server/source/git.h"

namespace kdbg::source {

struct GitObject {
  std::string type;  // "blob", "tree"
  std::size_t size = 0;
  std::string content;  // empty when it is longer than was asked for
};

class ObjectReader {
 public:
  static absl::StatusOr<ObjectReader> Start(const Git& git);

  // `name` is an id or what git takes for one ("<tree>:<path>"), without a line feed. nullopt when
  // there is no such object.
  absl::StatusOr<std::optional<GitObject>> Read(std::string_view name, std::size_t max_bytes);

 private:
  ObjectReader(Subprocess process, UniqueFd input, UniqueFd output);
  absl::StatusOr<std::string> ReadLine();
  // Exactly `size` bytes, kept up to `keep` of them.
  absl::StatusOr<std::string> ReadBytes(std::size_t size, std::size_t keep);
  absl::Status Fill();

  Subprocess process_;
  UniqueFd input_;
  UniqueFd output_;
  std::string buffered_;
  std::size_t taken_ = 0;  // of buffered_
};

}  // namespace kdbg::source
