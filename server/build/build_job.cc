#include "server/build/build_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"
#include "server/build/initramfs_builder.h"
#include "server/host/memory.h"
#include "server/observe/log.h"
#include "server/source/object_database.h"
#include "server/source/seed_store.h"
#include "server/source/trusted_sources.h"
#include "server/store/artifact_store.h"

namespace kdbg::build {
namespace {

// Steps of a build from nothing, when the workspace has not seen one. Measured on 6.1 and 1.35.
std::int64_t EstimatedSteps(const BuildRequest& request) {
  const auto* kernel = std::get_if<KernelRequest>(&request.spec);
  if (kernel == nullptr) return 640;
  if (!kernel->base_config_text.empty()) return 6000;
  if (kernel->base_config.empty() || kernel->base_config == "tiny") return 1600;
  if (kernel->base_config == "allnoconfig") return 900;
  return 4500;
}

std::string KeyOf(const BuildRequest& request, const Toolchain& toolchain) {
  if (const auto* kernel = std::get_if<KernelRequest>(&request.spec)) {
    return ConfigKey(*kernel, toolchain);
  }
  return ConfigKey(std::get<InitramfsRequest>(request.spec), toolchain);
}

bool HoldsNothing(const std::filesystem::path& directory) {
  std::error_code error;
  return std::filesystem::is_empty(directory, error) && !error;
}

// A third of what a guest gets, for which somebody sits and waits.
constexpr int kNice = 5;
constexpr int kNiceWithoutHurry = 19;  // nobody waits for it

bool IsTrusted(const BuildRecord& record) { return record.owner == source::kTrustedOwner; }

}  // namespace

std::string ActionKey(const BuildRequest& request, const std::string& tree,
                      const Toolchain& toolchain) {
  std::string inputs = fmt::format("{}\n{}\n", tree, KeyOf(request, toolchain));
  if (const auto* kernel = std::get_if<KernelRequest>(&request.spec)) {
    for (const auto& [name, value] : kernel->make_variables) {
      inputs += fmt::format("{}={}\n", name, value);
    }
  } else {
    const auto& initramfs = std::get<InitramfsRequest>(request.spec);
    inputs += fmt::format("{}\n{}\n{}\n", Sha256Hex(initramfs.init), initramfs.modules_sha256,
                          SuffixOf(initramfs.compression.value_or(CpioCompression::kNone)));
    for (const InitramfsOverlay& overlay : initramfs.overlays) inputs += overlay.sha256 + "\n";
  }
  return Sha256Hex(inputs);
}

absl::Status CheckSpec(const BuildRequest& request) {
  if (const auto* kernel = std::get_if<KernelRequest>(&request.spec)) {
    return CheckKernelRequest(*kernel);
  }
  return CheckInitramfsRequest(std::get<InitramfsRequest>(request.spec));
}

absl::StatusOr<Toolchain> FindToolchainFor(const BuildRequest& request) {
  const auto* kernel = std::get_if<KernelRequest>(&request.spec);
  if (kernel == nullptr) return FindToolchain(ArchitectureOf(request), Target::kProgram);
  const auto llvm = kernel->make_variables.find("LLVM");
  if (llvm == kernel->make_variables.end()) {
    return FindToolchain(kernel->architecture, Target::kKernel);
  }
  const std::string version = llvm->second == "1" ? "" : llvm->second;
  return FindLlvm(kernel->architecture, version);
}

bool SkipsCache(const BuildRequest& request) {
  return std::visit([](const auto& spec) { return spec.skip_cache || spec.clean; }, request.spec);
}

BuildJob::BuildJob(const BuildParts& parts, const BuildSettings& settings, BuildTable& table,
                   BuildRecord record, Events events, std::stop_token stop)
    : parts_(parts),
      settings_(settings),
      table_(table),
      record_(std::move(record)),
      events_(std::move(events)),
      stop_(std::move(stop)) {}

absl::StatusOr<std::vector<BuildRecord>> BuildJob::Run() {
  KDBG_ASSIGN_OR_RETURN(source_, parts_.sources.Get(record_.request.source_id));
  KDBG_ASSIGN_OR_RETURN(toolchain_, FindToolchainFor(record_.request));
  origin_ = {.build_id = record_.id,
             .source_id = source_.id,
             .source_text = source_.origin.text,
             .tree = source_.tree,
             .version = source_.project_version};
  // Another compiler may have been installed since it was asked for.
  record_.key = ActionKey(record_.request, source_.tree, toolchain_);
  if (!SkipsCache(record_.request)) {
    // A twin of this build may have ended while this one waited.
    if (auto answer = AnswerFromStore(); answer.ok()) return answer;
  }
  KDBG_ASSIGN_OR_RETURN(source::Workspaces::Lease lease,
                        parts_.workspaces.Acquire(record_.owner, record_.workspace));
  KDBG_ASSIGN_OR_RETURN(BuildRun run, Prepare(lease));
  absl::StatusOr<std::vector<BuildRecord>> done = MakeAndPublish(run, lease);
  if (!done.ok()) {
    // Who stopped it, and whether it goes on, is for the record to say.
    (void)run.Say(absl::IsCancelled(done.status()) ? "stopped"
                                                   : std::string(done.status().message()));
    KDBG_RETURN_IF_ERROR(run.FinishLog());
  }
  return done;
}

absl::StatusOr<std::vector<BuildRecord>> BuildJob::MakeAndPublish(
    BuildRun& run, source::Workspaces::Lease& lease) {
  KDBG_ASSIGN_OR_RETURN(BuiltArtifact built, Make(run, lease));
  KDBG_ASSIGN_OR_RETURN(std::vector<BuildRecord> done, Publish(run, std::move(built)));
  if (IsTrusted(record_)) BecomeSeed(lease);
  return done;
}

void BuildJob::BecomeSeed(source::Workspaces::Lease& lease) {
  absl::Status kept = table_.Remember(lease.id(), {});
  if (kept.ok()) kept = parts_.seeds.Keep(KeyOf(record_.request, toolchain_), lease, stop_);
  if (!kept.ok()) spdlog::warn("{}: no seed is kept: {}", record_.id, kept.ToString());
}

absl::StatusOr<std::vector<BuildRecord>> BuildJob::AnswerFromStore() {
  KDBG_ASSIGN_OR_RETURN(const BuildRecord twin,
                        table_.FindByKey(record_.owner, record_.key, record_.request.is_private));
  KDBG_RETURN_IF_ERROR(parts_.artifacts.Get(twin.artifact_id).status());
  KDBG_RETURN_IF_ERROR(parts_.artifacts.Touch(twin.artifact_id));
  std::vector<BuildRecord> answered = events_.members();
  const absl::Time now = parts_.clock.Now();
  KDBG_RETURN_IF_ERROR(parts_.database.Write([&](state::Transaction& transaction) -> absl::Status {
    for (BuildRecord& build : answered) {
      build.key = record_.key;
      build.state = BuildState::kSucceeded;
      build.artifact_id = twin.artifact_id;
      build.answered_from_store = true;
      build.end_time = now;
      KDBG_RETURN_IF_ERROR(table_.Update(transaction, build));
    }
    return absl::OkStatus();
  }));
  return answered;
}

absl::StatusOr<BuildRun> BuildJob::Prepare(const source::Workspaces::Lease& lease) {
  KDBG_ASSIGN_OR_RETURN(
      BuildLog log,
      BuildLog::Open(settings_.logs_directory / (record_.id + ".log"), settings_.log_limit_bytes));
  host::SandboxLimits limits;
  limits.memory_bytes = settings_.memory_limit_bytes;
  if (limits.memory_bytes == 0) {
    KDBG_ASSIGN_OR_RETURN(const host::HostMemory memory, host::ReadHostMemory());
    limits.memory_bytes = memory.total_bytes / 4 * 3;
  }
  limits.processes = settings_.process_limit;
  limits.wall_time = settings_.time_limit;
  limits.nice = IsTrusted(record_) ? kNiceWithoutHurry : kNice;
  KDBG_ASSIGN_OR_RETURN(std::optional<host::Identity> run_as, parts_.build_identity(record_.owner));
  const int processors = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  BuildRun::Parts parts{.runner = parts_.runner,
                        .name = "builds/" + record_.id,
                        .directories = {.source = lease.source_dir(),
                                        .build = lease.build_dir(),
                                        .ccache = lease.ccache_dir(),
                                        .trusted_ccache = parts_.workspaces.trusted_ccache_dir()},
                        .run_as = run_as,
                        .limits = limits,
                        .jobs = settings_.jobs > 0 ? settings_.jobs : processors,
                        .ccache_limit_mib = settings_.ccache_limit_mib,
                        .trust = IsTrusted(record_) ? Trust::kTrusted : Trust::kOwn,
                        .stop = stop_,
                        .on_change = events_.on_change,
                        .on_log = events_.on_log};
  const bool resumed = log.size_bytes() > 0;
  BuildRun run(std::move(parts), std::move(log), record_.progress);
  if (resumed) KDBG_RETURN_IF_ERROR(run.Resume());
  return run;
}

absl::StatusOr<BuiltArtifact> BuildJob::Make(BuildRun& run, source::Workspaces::Lease& lease) {
  if (const auto* kernel = std::get_if<KernelRequest>(&record_.request.spec)) {
    KernelBuilder builder(run, parts_.blobs, *kernel, toolchain_, origin_);
    return MakeWith(builder, run, lease, *kernel);
  }
  const auto& initramfs = std::get<InitramfsRequest>(record_.request.spec);
  const InitramfsSources sources{parts_.uploads, table_, parts_.artifacts, parts_.blobs};
  InitramfsBuilder builder(run, parts_.blobs, sources, initramfs, toolchain_, origin_);
  return MakeWith(builder, run, lease, initramfs);
}

template <typename Builder, typename Request>
absl::StatusOr<BuiltArtifact> BuildJob::MakeWith(Builder& builder, BuildRun& run,
                                                 source::Workspaces::Lease& lease,
                                                 const Request& request) {
  KDBG_ASSIGN_OR_RETURN(WorkspaceMemory memory, table_.Recall(lease.id()));
  const std::string config_key = ConfigKey(request, toolchain_);
  run.EnterPhase(BuildPhase::kCheckingOut);
  // Meanwhile another tree may have been built here.
  if (request.clean && !(run.resumed() && memory.tree == source_.tree)) {
    memory = {};
    KDBG_RETURN_IF_ERROR(table_.Remember(lease.id(), memory));
    KDBG_RETURN_IF_ERROR(lease.ClearBuild());
  } else if (HoldsNothing(lease.build_dir())) {
    KDBG_RETURN_IF_ERROR(StartFromSeed(run, lease, config_key, memory));
  }
  KDBG_RETURN_IF_ERROR(lease.Checkout(source_.tree, stop_));

  const bool from_nothing = memory.config_key != config_key || !builder.HasConfig();
  if (from_nothing || MayConfigureOtherwise<Builder>(memory.tree)) {
    run.EnterPhase(BuildPhase::kConfiguring);
    memory.config_key.clear();
    KDBG_RETURN_IF_ERROR(table_.Remember(lease.id(), memory));
    KDBG_RETURN_IF_ERROR(builder.Configure());
    memory.config_key = config_key;
    if (from_nothing) {
      memory.incremental_steps = 0;
      memory.begun_steps = 0;
    }
  }
  memory.tree = source_.tree;
  KDBG_RETURN_IF_ERROR(table_.Remember(lease.id(), memory));
  KDBG_RETURN_IF_ERROR(SetExpectation(run, memory));
  absl::StatusOr<BuiltArtifact> built = builder.Build();
  NoteSteps(run, built.ok(), memory);
  if (absl::Status noted = table_.Remember(lease.id(), memory); built.ok() && !noted.ok()) {
    return noted;
  }
  return built;
}

// The config step takes longer than make does with nothing to do, so it is left out where the files
// that decide it are those it was made from.
template <typename Builder>
bool BuildJob::MayConfigureOtherwise(const std::string& earlier_tree) const {
  if (earlier_tree == source_.tree) return false;
  const auto changed = parts_.objects.ChangedPaths(earlier_tree, source_.tree);
  return !changed.ok() || std::any_of(changed->begin(), changed->end(), Builder::DecidesConfig);
}

// A workspace that holds nothing yet begins with what the service built of a tree near to this one.
absl::Status BuildJob::StartFromSeed(BuildRun& run, source::Workspaces::Lease& lease,
                                     const std::string& config_key, WorkspaceMemory& memory) {
  KDBG_ASSIGN_OR_RETURN(const std::string present, lease.tree());
  if (!present.empty() || run.resumed() || IsTrusted(record_)) return absl::OkStatus();
  const auto tree = parts_.seeds.Plant(config_key, source_.tree, lease, stop_);
  if (absl::IsNotFound(tree.status())) return absl::OkStatus();
  if (absl::IsCancelled(tree.status())) return tree.status();
  if (!tree.ok()) {
    // It only takes longer without.
    spdlog::warn("{}: no start from a seed: {}", record_.id, tree.status().ToString());
    return absl::OkStatus();
  }
  memory = {.config_key = config_key, .tree = *tree};
  KDBG_RETURN_IF_ERROR(table_.Remember(lease.id(), memory));
  return run.Say(fmt::format("starts from the objects of a trusted build of tree {}", *tree));
}

// What other builds did of a build from nothing before this one; its own earlier part is in its
// log and so counted.
std::int64_t BuildJob::StepsBefore(const BuildRun& run, const WorkspaceMemory& memory) {
  return run.resumed() ? 0 : memory.begun_steps.value_or(0);
}

absl::Status BuildJob::SetExpectation(BuildRun& run, const WorkspaceMemory& memory) const {
  if (!memory.begun_steps) {
    run.SetExpected(memory.incremental_steps, /*estimated=*/false);
    return absl::OkStatus();
  }
  KDBG_ASSIGN_OR_RETURN(std::int64_t steps, table_.FullStepsOf(memory.config_key));
  const bool estimated = steps == 0;
  if (estimated) steps = EstimatedSteps(record_.request);
  steps = std::max({std::int64_t{1}, steps - StepsBefore(run, memory), run.progress().steps_done});
  run.SetExpected(steps, estimated);
  return absl::OkStatus();
}

void BuildJob::NoteSteps(const BuildRun& run, bool finished, WorkspaceMemory& memory) {
  const std::int64_t steps = StepsBefore(run, memory) + run.progress().steps_done;
  if (!memory.begun_steps) {
    if (finished) memory.incremental_steps = steps;
  } else if (finished) {
    memory.full_steps = steps;
    memory.begun_steps.reset();
  } else {
    memory.begun_steps = steps;
  }
}

absl::StatusOr<std::vector<BuildRecord>> BuildJob::Publish(BuildRun& run, BuiltArtifact built) {
  if (stop_.stop_requested()) return absl::CancelledError("the build was cancelled");
  KDBG_RETURN_IF_ERROR(run.FinishLog());
  KDBG_ASSIGN_OR_RETURN(const store::Blob log, parts_.blobs.Put(run.log_file()));
  built.files.push_back({"build.log", log.digest, log.size_bytes});

  std::vector<BuildRecord> members = events_.members();
  const BuildRecord& eldest = members.front();
  const bool is_kernel = eldest.kind() == BuildKind::kKernel;
  store::Artifact artifact;
  artifact.kind = is_kernel ? store::ArtifactKind::kKernel : store::ArtifactKind::kInitramfs;
  artifact.owner = eldest.owner;
  artifact.is_private = eldest.request.is_private;
  artifact.build_id = eldest.id;
  artifact.source_id = source_.id;
  artifact.display_name = eldest.request.display_name;
  artifact.architecture = std::string(TraitsOf(ArchitectureOf(eldest.request)).name);
  artifact.gnu_build_id = std::move(built.gnu_build_id);
  artifact.version = std::move(built.version);
  artifact.files = std::move(built.files);
  artifact.attributes = std::move(built.attributes);
  std::sort(artifact.files.begin(), artifact.files.end(),
            [](const auto& left, const auto& right) { return left.path < right.path; });

  const absl::Time now = parts_.clock.Now();
  KDBG_RETURN_IF_ERROR(parts_.database.Write([&](state::Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(const store::Artifact published,
                          parts_.artifacts.Publish(transaction, artifact));
    if (is_kernel) KDBG_RETURN_IF_ERROR(table_.SetIndexWanted(transaction, published.id));
    for (BuildRecord& build : members) {
      build.key = record_.key;
      build.state = BuildState::kSucceeded;
      build.artifact_id = published.id;
      build.progress = run.progress();
      build.log_size_bytes = run.log_size();
      build.end_time = now;
      KDBG_RETURN_IF_ERROR(table_.Update(transaction, build));
    }
    return absl::OkStatus();
  }));
  return members;
}

}  // namespace kdbg::build
