// What is looked at before a directory is read whole: that it is what the caller wants to build,
// and that nothing huge lies in it by accident.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/source/local_git.h"

namespace kdbg::client {

// A kind of source, told by files that each version of it has.
struct Project {
  std::string title;                   // "Linux"
  std::vector<std::string> landmarks;  // paths from its top
};

Project Linux();
Project Busybox();

// FAILED_PRECONDITION when a landmark is not there by `has`; it names the folder above `directory`
// that has them all, if there is one.
absl::Status CheckLandmarks(const Project& project, const std::filesystem::path& directory,
                            absl::FunctionRef<bool(const std::string& path)> has);

// Whether `path` is in `directory`; what has no answer is not.
bool IsIn(const std::filesystem::path& directory, const std::string& path);

struct LargeFile {
  std::string path;  // from the directory
  std::int64_t size_bytes = 0;
};

enum class Ignored { kLeftOut, kSent };

// The large ones of the files that are in `directory`, where `git` runs, but not yet in its index.
// FAILED_PRECONDITION for one that no server takes.
absl::StatusOr<std::vector<LargeFile>> FindLargeFiles(const LocalGit& git,
                                                      const std::filesystem::path& directory,
                                                      Ignored ignored);

}  // namespace kdbg::client
