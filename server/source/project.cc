#include "server/source/project.h"

namespace kdbg::source {
namespace {

// The value of "NAME = value" at the start of a line, without blanks; empty when there is none.
std::string MakeVariable(std::string_view makefile, std::string_view name) {
  constexpr std::string_view kBlanks = " \t\r";
  while (!makefile.empty()) {
    const std::size_t end = makefile.find('\n');
    std::string_view line = makefile.substr(0, end);
    makefile.remove_prefix(end == std::string_view::npos ? makefile.size() : end + 1);
    if (!line.starts_with(name)) continue;
    line.remove_prefix(name.size());
    const std::size_t equals = line.find_first_not_of(kBlanks);
    if (equals == std::string_view::npos || line[equals] != '=') continue;
    line.remove_prefix(equals + 1);
    const std::size_t from = line.find_first_not_of(kBlanks);
    if (from == std::string_view::npos) return {};
    return std::string(line.substr(from, line.find_last_not_of(kBlanks) + 1 - from));
  }
  return {};
}

// Both projects number themselves alike.
std::string Version(std::string_view makefile) {
  std::string version = MakeVariable(makefile, "VERSION");
  for (const char* part : {"PATCHLEVEL", "SUBLEVEL"}) {
    const std::string number = MakeVariable(makefile, part);
    if (!number.empty()) version += "." + number;
  }
  return version + MakeVariable(makefile, "EXTRAVERSION");
}

}  // namespace

Project DetectProject(absl::FunctionRef<std::optional<std::string>(std::string_view path)> read) {
  const std::optional<std::string> makefile = read("Makefile");
  if (!makefile || MakeVariable(*makefile, "VERSION").empty()) return {};
  if (read("include/applets.src.h") || (read("Config.in") && read("applets/applets.c"))) {
    return {.name = "busybox", .version = Version(*makefile)};
  }
  if (read("kernel/fork.c") && read("init/main.c")) {
    return {.name = "linux", .version = Version(*makefile)};
  }
  return {};
}

}  // namespace kdbg::source
