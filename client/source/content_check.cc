#include "client/source/content_check.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <string_view>
#include <system_error>

#include "proto/support/status_macros.h"

namespace kdbg::client {
namespace {

namespace fs = std::filesystem;

// Larger than any file of a source; git needs a second to read it, each time.
constexpr std::int64_t kLargeBytes = std::int64_t{64} << 20;
// The server's bound for one file.
constexpr std::int64_t kLargestBytes = std::int64_t{2} << 30;

bool HasAll(const Project& project, const fs::path& directory) {
  return std::all_of(project.landmarks.begin(), project.landmarks.end(),
                     [&](const std::string& path) { return IsIn(directory, path); });
}

absl::Status TooLarge(const fs::path& file, std::int64_t bytes, Ignored ignored) {
  return absl::FailedPreconditionError(fmt::format(
      "{} has {} MiB, more than the {} MiB a server takes in one file: {}", file.string(),
      bytes >> 20, kLargestBytes >> 20,
      ignored == Ignored::kLeftOut ? "move it away, or name it in .gitignore or .git/info/exclude"
                                   : "move it away"));
}

}  // namespace

Project Linux() {
  return {.title = "Linux", .landmarks = {"Makefile", "kernel/fork.c", "init/main.c"}};
}

Project Busybox() { return {.title = "BusyBox", .landmarks = {"Makefile", "applets/applets.c"}}; }

absl::Status CheckLandmarks(const Project& project, const fs::path& directory,
                            absl::FunctionRef<bool(const std::string& path)> has) {
  const auto missing = std::find_if(project.landmarks.begin(), project.landmarks.end(),
                                    [&](const std::string& path) { return !has(path); });
  if (missing == project.landmarks.end()) return absl::OkStatus();
  std::string advice = "give the directory that has it";
  for (fs::path above = directory; above.has_relative_path();) {
    above = above.parent_path();
    if (!HasAll(project, above)) continue;
    advice = "did you mean " + above.string() + "?";
    break;
  }
  return absl::FailedPreconditionError(
      fmt::format("{} is not the top of a {} source: there is no {}; nothing was sent: {}",
                  directory.string(), project.title, *missing, advice));
}

bool IsIn(const fs::path& directory, const std::string& path) {
  std::error_code error;
  return fs::exists(directory / path, error);
}

absl::StatusOr<std::vector<LargeFile>> FindLargeFiles(const LocalGit& git,
                                                      const fs::path& directory, Ignored ignored) {
  std::vector<std::string> list = {"ls-files", "--others", "-z"};
  if (ignored == Ignored::kLeftOut) list.push_back("--exclude-standard");
  KDBG_ASSIGN_OR_RETURN(const std::string names, git.Run(list));
  std::vector<LargeFile> large;
  for (std::string_view rest = names; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    const std::string path(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    struct stat status {};
    const fs::path file = directory / path;
    if (::lstat(file.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (status.st_size > kLargestBytes) return TooLarge(file, status.st_size, ignored);
    if (status.st_size > kLargeBytes) large.push_back({path, status.st_size});
  }
  return large;
}

}  // namespace kdbg::client
