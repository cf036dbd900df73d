// What every hostile build has: a state directory with secrets, a runner of its own, a source with
// one Makefile.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/support/unique_fd.h"
#include "server/host/runner_client.h"
#include "server/host/runner_process.h"
#include "server/host/sandbox.h"

namespace kdbg::host {

class HostileBuildTest : public ::testing::Test {
 protected:
  struct Outcome {
    SandboxResult result;
    std::string output;  // stdout and stderr
  };

  void SetUp() override;
  void TearDown() override;

  // A build of `makefile` (of the makefiles folder) with `goal` and variables of make.
  Sandbox Build(std::string_view makefile, std::vector<std::string> arguments = {}) const;
  std::unique_ptr<SandboxRun> Start(const Sandbox& sandbox, int output_fd);
  Outcome Run(const Sandbox& sandbox);
  Outcome Make(std::string_view makefile, std::vector<std::string> arguments = {}) {
    return Run(Build(makefile, std::move(arguments)));
  }

  // A number that no other test's processes carry on their command line.
  std::string NewMark() const;
  // Processes of this host that have `mark` on their command line.
  static std::vector<int> ProcessesWith(std::string_view mark);
  // Reads until the build has said `line`.
  static bool WaitForLine(int fd, std::string_view line);
  // Whether all of them end within `limit`.
  static bool AllEndWithin(const std::vector<int>& pids, absl::Duration limit);

  LimitReport LimitNamed(std::string_view name);
  bool is_root() const { return runs_as_.has_value(); }

  std::filesystem::path state_;  // mode 0700, holds all the others
  std::filesystem::path source_;
  std::filesystem::path build_;
  std::filesystem::path ccache_;
  std::optional<Identity> runs_as_;
  std::unique_ptr<RunnerProcess> process_;
  std::unique_ptr<RunnerClient> runner_;

 private:
  void CreateTree();
};

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};
Pipe MakePipe();

}  // namespace kdbg::host
