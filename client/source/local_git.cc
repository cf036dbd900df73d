#include "client/source/local_git.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iterator>

#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"

namespace kdbg::client {
namespace {

constexpr std::size_t kOutputBytes = std::size_t{1} << 30;
constexpr std::size_t kShownBytes = 2000;
// Until the caller stops it.
constexpr std::chrono::hours kTimeLimit(24);

// What a hook or an alias that runs us leaves behind; it would win over the directory.
constexpr std::string_view kRepositoryVariables[] = {"GIT_DIR=",
                                                     "GIT_WORK_TREE=",
                                                     "GIT_INDEX_FILE=",
                                                     "GIT_COMMON_DIR=",
                                                     "GIT_NAMESPACE=",
                                                     "GIT_OBJECT_DIRECTORY=",
                                                     "GIT_PREFIX=",
                                                     "GIT_SHALLOW_FILE=",
                                                     "GIT_ALTERNATE_OBJECT_DIRECTORIES=",
                                                     "GIT_GRAFT_FILE=",
                                                     "GIT_QUARANTINE_PATH=",
                                                     "GIT_INTERNAL_SUPER_PREFIX=",
                                                     "GIT_LITERAL_PATHSPECS=",
                                                     "GIT_GLOB_PATHSPECS=",
                                                     "GIT_NOGLOB_PATHSPECS=",
                                                     "GIT_ICASE_PATHSPECS=",
                                                     "GIT_IMPLICIT_WORK_TREE=",
                                                     "LC_ALL=",
                                                     "LANGUAGE="};

std::vector<std::string> Environment(const std::vector<std::string>& more) {
  std::vector<std::string> all;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (std::none_of(std::begin(kRepositoryVariables), std::end(kRepositoryVariables),
                     [&](std::string_view name) { return text.starts_with(name); })) {
      all.emplace_back(text);
    }
  }
  // We read what it says; ids are those of the objects themselves; and it writes nothing of its own
  // accord.
  all.insert(all.end(), {"LC_ALL=C", "GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0",
                         "GIT_TERMINAL_PROMPT=0"});
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

LocalGit LocalGit::With(const std::vector<std::string>& environment) const {
  LocalGit git = *this;
  git.environment_.insert(git.environment_.end(), environment.begin(), environment.end());
  return git;
}

absl::StatusOr<std::string> LocalGit::RunWith(Subprocess::Options options,
                                              const std::vector<std::string>& arguments,
                                              std::string input) const {
  options.argv = {"git"};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.environment = Environment(environment_);
  options.working_directory = directory_;
  auto result = RunCommand(std::move(options), std::move(input), kTimeLimit, kOutputBytes, stop_);
  if (absl::IsNotFound(result.status())) {
    return absl::FailedPreconditionError(
        "directories are sent by git, which is not installed here: install git, or give a tarball");
  }
  KDBG_RETURN_IF_ERROR(result.status());
  // It only warns of a directory it may not list, and goes on without what is in it.
  const bool left_out = result->error.find("could not open directory") != std::string::npos;
  if (result->status.ok() && !left_out) return std::move(result->output);
  std::string error = std::move(result->error);
  while (error.ends_with('\n')) error.pop_back();
  return absl::FailedPreconditionError(
      fmt::format("git in {}: {}", directory_.string(),
                  error.empty() ? result->status.Describe() : ShortUtf8(error, kShownBytes)));
}

absl::StatusOr<std::string> LocalGit::Run(const std::vector<std::string>& arguments,
                                          std::string input) const {
  return RunWith({}, arguments, std::move(input));
}

absl::StatusOr<std::string> LocalGit::Line(const std::vector<std::string>& arguments) const {
  KDBG_ASSIGN_OR_RETURN(std::string text, Run(arguments));
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

absl::Status LocalGit::RunTo(int fd, const std::vector<std::string>& arguments,
                             std::string input) const {
  Subprocess::Options options;
  options.descriptors = {{1, fd}};
  return RunWith(std::move(options), arguments, std::move(input)).status();
}

}  // namespace kdbg::client
