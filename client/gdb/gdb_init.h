// The commands gdb starts with. Pure text.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kdbg::client {

// Where the build sandbox has the source, and so what DWARF says.
inline constexpr char kSourceInSandbox[] = "/src";

struct GdbPlan {
  std::string session;  // for the comment at the top
  std::filesystem::path vmlinux;
  std::filesystem::path index_directory;
  std::filesystem::path
      source_directory;  // a tree of the user's own to show lines from; empty: the server's
  std::string target;    // what follows `target remote`
};

// What holds before any file is read: neither vmlinux nor target of `plan`.
std::string GdbSettingsText(const GdbPlan& plan);
// The same, and then both: for gdb -x.
std::string GdbInitText(const GdbPlan& plan);

// A Python file that loads `script` at the first stop: by then there is a kernel to ask, and it is
// off the way to it. lx-symbols then looks for vmlinux and modules in `build_directory`.
std::string ScriptLoaderText(const std::filesystem::path& script,
                             const std::filesystem::path& build_directory);

// `text` as one argument of a gdb command, and of a POSIX shell.
std::string QuoteForGdb(const std::string& text);
std::string QuoteForShell(const std::string& text);

}  // namespace kdbg::client
