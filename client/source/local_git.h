// The caller's own git, with their configuration, on a repository of theirs. Every command ends at
// once when the caller stops it. One thread at a time.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/subprocess.h"

namespace kdbg::client {

class LocalGit {
 public:
  // Runs in `directory`, with `environment` ("K=V") on top of ours, from which all that names
  // another repository is taken away.
  LocalGit(std::filesystem::path directory, std::vector<std::string> environment,
           std::stop_token stop)
      : directory_(std::move(directory)),
        environment_(std::move(environment)),
        stop_(std::move(stop)) {}

  // The same with more environment.
  LocalGit With(const std::vector<std::string>& environment) const;

  // What it printed. CANCELLED when stopped, FAILED_PRECONDITION without git on this machine or
  // with git's own words, also when it left out a directory it could not read.
  absl::StatusOr<std::string> Run(const std::vector<std::string>& arguments,
                                  std::string input = {}) const;
  // The same without the last line feed.
  absl::StatusOr<std::string> Line(const std::vector<std::string>& arguments) const;
  // The same, printed to a descriptor.
  absl::Status RunTo(int fd, const std::vector<std::string>& arguments, std::string input) const;

  const std::stop_token& stop() const { return stop_; }

 private:
  absl::StatusOr<std::string> RunWith(Subprocess::Options options,
                                      const std::vector<std::string>& arguments,
                                      std::string input) const;

  std::filesystem::path directory_;
  std::vector<std::string> environment_;
  std::stop_token stop_;
};

}  // namespace kdbg::client
