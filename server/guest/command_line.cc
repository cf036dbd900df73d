#include "server/guest/command_line.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/contract/error.h"

namespace kdbg::guest {

absl::StatusOr<std::string> ComposeCommandLine(Architecture architecture, BaseAddress base_address,
                                               std::string_view extra) {
  if (extra.size() > kMaxKernelArguments) {
    return InvalidField("kernel_arguments", fmt::format("{} bytes", extra.size()),
                        fmt::format("kernel arguments are at most {} bytes", kMaxKernelArguments));
  }
  const bool clean = std::none_of(extra.begin(), extra.end(),
                                  [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (!clean) {
    return InvalidField("kernel_arguments", "",
                        "kernel arguments hold a control character, such as a newline or a NUL; "
                        "write them on one line");
  }
  std::string line = fmt::format("console={}", TraitsOf(architecture).console);
  if (base_address == BaseAddress::kLinked) line += " nokaslr";
  if (!extra.empty()) line += fmt::format(" {}", extra);
  return line;
}

}  // namespace kdbg::guest
