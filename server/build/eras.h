// What old trees need with the compiler and headers of today: a table of version ranges, and what
// of it concerns one source. Pure.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kdbg::build {

enum class Project { kLinux, kBusybox };

// The numbers a version begins with: {4, 19, 108} for "4.19.108-rt5", zeros where there are none;
// nullopt for a text that does not begin with a number.
using Version = std::array<int, 3>;
std::optional<Version> ParseVersion(std::string_view text);

struct Era {
  enum class Kind {
    kConfig,        // a config item, unless the caller sets that symbol
    kCompilerFlag,  // for what runs in the guest, before the caller's own
    kHostFlag,      // for the tools that the source builds for itself
    kMakeVariable,  // unless the caller sets it
  };
  Project project;
  Version from;    // the first version concerned
  Version before;  // the first one that is not
  Kind kind;
  std::string_view text;  // "CONFIG_TC=n", "-fcommon", "WERROR=0"
  std::string_view why;
};

// The whole table.
std::span<const Era> Eras();

// What concerns this version, in the order of the table; nothing for a version that cannot be read,
// which is taken for the newest.
std::vector<Era> ErasOf(Project project, std::string_view version);

// The texts of one kind, in order.
std::vector<std::string> TextsOf(std::span<const Era> eras, Era::Kind kind);

}  // namespace kdbg::build
