// One run of make for the builds that wait for it: checkout, builder, publication. On the worker
// thread that runs it.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/build/build_record.h"
#include "server/build/build_run.h"
#include "server/build/build_table.h"
#include "server/build/builds.h"
#include "server/build/kernel_builder.h"
#include "server/build/toolchain.h"
#include "server/source/source_catalog.h"
#include "server/source/workspace.h"

namespace kdbg::build {

// What decides a build's bytes: tree, config, make variables, init, toolchain.
std::string ActionKey(const BuildRequest& request, const std::string& tree,
                      const Toolchain& toolchain);

// UNIMPLEMENTED and INVALID_ARGUMENT of the request alone.
absl::Status CheckSpec(const BuildRequest& request);
absl::StatusOr<Toolchain> FindToolchainFor(const BuildRequest& request);
bool SkipsCache(const BuildRequest& request);

class BuildJob {
 public:
  struct Events {
    std::function<void(const BuildProgress&, std::int64_t log_size)> on_change;
    std::function<void()> on_log;
    // Called once there is a result: the builds that get it, from now on always the same.
    std::function<std::vector<BuildRecord>()> members;
  };

  BuildJob(const BuildParts& parts, const BuildSettings& settings, BuildTable& table,
           BuildRecord record, Events events, std::stop_token stop);

  // The members SUCCEEDED, already in the database together with their artifact. Errors are as of
  // FailureStatus, CANCELLED after `stop`; the records are then the caller's to write.
  absl::StatusOr<std::vector<BuildRecord>> Run();

 private:
  absl::StatusOr<std::vector<BuildRecord>> AnswerFromStore();
  absl::StatusOr<std::vector<BuildRecord>> MakeAndPublish(BuildRun& run,
                                                          source::Workspaces::Lease& lease);
  absl::StatusOr<BuildRun> Prepare(const source::Workspaces::Lease& lease);
  absl::StatusOr<BuiltArtifact> Make(BuildRun& run, source::Workspaces::Lease& lease);
  template <typename Builder, typename Request>
  absl::StatusOr<BuiltArtifact> MakeWith(Builder& builder, BuildRun& run,
                                         source::Workspaces::Lease& lease, const Request& request);
  template <typename Builder>
  bool MayConfigureOtherwise(const std::string& earlier_tree) const;
  absl::Status StartFromSeed(BuildRun& run, source::Workspaces::Lease& lease,
                             const std::string& config_key, WorkspaceMemory& memory);
  void BecomeSeed(source::Workspaces::Lease& lease);
  static std::int64_t StepsBefore(const BuildRun& run, const WorkspaceMemory& memory);
  absl::Status SetExpectation(BuildRun& run, const WorkspaceMemory& memory) const;
  static void NoteSteps(const BuildRun& run, bool finished, WorkspaceMemory& memory);
  absl::StatusOr<std::vector<BuildRecord>> Publish(BuildRun& run, BuiltArtifact built);

  const BuildParts& parts_;
  const BuildSettings& settings_;
  BuildTable& table_;
  BuildRecord record_;  // of the build that says what is made, and how
  Events events_;
  std::stop_token stop_;
  source::SourceRecord source_;
  Toolchain toolchain_;
  BuildOrigin origin_;
};

}  // namespace kdbg::build
