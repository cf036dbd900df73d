#include "server/build/eras.h"

#include <charconv>
#include <limits>

namespace kdbg::build {
namespace {

constexpr Version kEver = {0, 0, 0};
constexpr Version kNever = {std::numeric_limits<int>::max(), 0, 0};

using Kind = Era::Kind;

// A fix that went to several stable series has a row for each range without it.
constexpr Era kEras[] = {
    {Project::kLinux,
     kEver,
     {5, 1, 0},
     Kind::kCompilerFlag,
     "-fvar-tracking-assignments",
     "its Makefile turns off what tells gdb where a variable is"},
    {Project::kLinux,
     kEver,
     {5, 6, 0},
     Kind::kHostFlag,
     "-fcommon",
     "dtc defines yylloc twice, which gcc 10 and later refuse"},
    {Project::kLinux,
     kEver,
     {5, 17, 0},
     Kind::kMakeVariable,
     "WERROR=0",
     "gcc 12 warns of a use after free in libsubcmd, which objtool is linked with"},
    {Project::kLinux,
     kEver,
     {5, 17, 0},
     Kind::kHostFlag,
     "-Wno-error",
     "objtool and its libraries make errors of warnings that compilers since have added"},
    {Project::kLinux,
     kEver,
     {5, 12, 0},
     Kind::kMakeVariable,
     "OBJECT_FILES_NON_STANDARD_thunk_64.o=y",
     "binutils 2.36 and later leave out an empty symbol table, without which objtool gives up"},
    {Project::kLinux,
     kEver,
     {4, 19, 124},
     Kind::kConfig,
     "CONFIG_STACKPROTECTOR=n",
     "gcc 10 and later end start_secondary in a jump, and its canary is taken for broken"},
    {Project::kLinux,
     {4, 20, 0},
     {5, 4, 42},
     Kind::kConfig,
     "CONFIG_STACKPROTECTOR=n",
     "gcc 10 and later end start_secondary in a jump, and its canary is taken for broken"},
    {Project::kLinux,
     {5, 5, 0},
     {5, 6, 14},
     Kind::kConfig,
     "CONFIG_STACKPROTECTOR=n",
     "gcc 10 and later end start_secondary in a jump, and its canary is taken for broken"},
    {Project::kBusybox, kEver, kNever, Kind::kConfig, "CONFIG_TC=n",
     "tc does not compile against the headers of Linux 6.8 and later"},
    {Project::kBusybox, kEver, kNever, Kind::kConfig, "CONFIG_PAM=n",
     "there is no PAM to be linked with statically"},
};

}  // namespace

std::optional<Version> ParseVersion(std::string_view text) {
  Version version = {0, 0, 0};
  for (std::size_t i = 0; i < version.size(); ++i) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version[i]);
    if (error != std::errc() || version[i] < 0) {
      if (i == 0) return std::nullopt;
      version[i] = 0;
      return version;
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (!text.starts_with('.')) return version;
    text.remove_prefix(1);
  }
  return version;
}

std::span<const Era> Eras() { return kEras; }

std::vector<Era> ErasOf(Project project, std::string_view version) {
  const Version own = ParseVersion(version).value_or(Version{kNever[0] - 1, 0, 0});
  std::vector<Era> eras;
  for (const Era& era : kEras) {
    if (era.project == project && own >= era.from && own < era.before) {
      eras.push_back(era);
    }
  }
  return eras;
}

std::vector<std::string> TextsOf(std::span<const Era> eras, Era::Kind kind) {
  std::vector<std::string> texts;
  for (const Era& era : eras) {
    if (era.kind == kind) texts.emplace_back(era.text);
  }
  return texts;
}

}  // namespace kdbg::build
