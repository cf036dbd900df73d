// What kind of project a source tree is, as its top folder shows.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

namespace kdbg::source {

struct Project {
  std::string name;     // "linux", "busybox", or empty
  std::string version;  // "6.1.170"
};

// `read` gives a file's content, nullopt when the tree has no such file.
Project DetectProject(absl::FunctionRef<std::optional<std::string>(std::string_view path)> read);

}  // namespace kdbg::source
