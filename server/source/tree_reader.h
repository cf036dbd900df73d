// Files of one git tree. For one thread at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "server/source/git.h"
#include "server/source/object_reader.h"

namespace kdbg::source {

class TreeReader {
 public:
  static absl::StatusOr<TreeReader> Start(const Git& git, std::string_view tree);

  // NOT_FOUND when the tree has no such file, RESOURCE_EXHAUSTED when it is longer than
  // `max_bytes`. A symbolic link reads as its target's name.
  absl::StatusOr<std::string> Read(std::string_view path,
                                   std::size_t max_bytes = std::size_t{16} << 20);

 private:
  TreeReader(ObjectReader objects, std::string tree)
      : objects_(std::move(objects)), tree_(std::move(tree)) {}

  ObjectReader objects_;
  std::string tree_;
};

}  // namespace kdbg::source
