#include "server/build/config_editor.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <system_error>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"
#include "server/base/ids.h"
#include "server/build/build_failure.h"
#include "server/build/build_run.h"
#include "server/build/kernel_builder.h"
#include "server/build/request_check.h"
#include "server/build/toolchain.h"
#include "server/host/terminal_relay.h"
#include "server/observe/log.h"
#include "server/source/object_database.h"
#include "server/source/source_catalog.h"
#include "server/source/workspace.h"

namespace kdbg::build {
namespace {

namespace fs = std::filesystem;

// What make reads to find out about a config is Kconfig files, makefiles and scripts: without
// program text and documents 8,000 small files of a kernel are left of 80,000, and are there in a
// second. Scripts are compiled, so those come whole.
const std::vector<std::string> kWithoutProgramText = {
    ".", ":!*.c", ":!*.h", ":!*.S", ":!*.dts", ":!*.dtsi", ":!*.rst", ":!*.json", ":!*.yaml"};
const std::vector<std::string> kScripts = {"scripts"};

constexpr char kCtrlC = '\x03';
constexpr std::int64_t kLogLimit = std::int64_t{1} << 20;
constexpr std::int64_t kMemoryLimit = std::int64_t{2} << 30;
constexpr std::int64_t kFileLimit = std::int64_t{256} << 20;
constexpr int kProcessLimit = 512;

// A directory that goes with this object.
class Scratch {
 public:
  explicit Scratch(fs::path path) : path_(std::move(path)) {}
  ~Scratch() {
    std::error_code error;
    fs::remove_all(path_, error);
    if (error) spdlog::warn("remove {}: {}", path_.string(), error.message());
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const fs::path& path() const { return path_; }

 private:
  const fs::path path_;
};

absl::Status MakeDirectory(const fs::path& path, int mode) {
  return WithDiskReason(MakeDirectories(path, mode), path);
}

// Trying again does not help here, as it does when the host is only short of something.
absl::Status WithMissingTool(const absl::Status& status) {
  if (!HasReason(status, Reason::kMissingTool)) return status;
  const BuildFailure failure = FailureOf(status);
  return MakeError(absl::StatusCode::kFailedPrecondition, failure.reason, failure.message,
                   {{"excerpt", failure.excerpt}});
}

}  // namespace

// Shared by the caller's end and the thread; the first block is the thread's own.
struct ConfigEditor::Work {
  std::string owner;
  ConfigEditRequest request;
  source::SourceRecord source;
  Toolchain toolchain;
  std::function<void()> changed;

  std::unique_ptr<host::TerminalRelay> terminal;
  absl::Mutex mutex;
  std::optional<Result> result ABSL_GUARDED_BY(mutex);

  std::atomic<bool> at_program = false;  // keys are the program's; before that Ctrl-C is ours
  std::atomic<bool> left = false;        // by that
  std::atomic<bool> gone = false;        // with all it left on the disk

  Result Edit(const BuildParts& parts, const ConfigEditorSettings& settings,
              const fs::path& scratch, std::stop_token stop);
  absl::StatusOr<BuildRun> Prepare(const BuildParts& parts, const ConfigEditorSettings& settings,
                                   const fs::path& scratch, std::stop_token stop) const;
  // The result as the caller is told it.
  Result Final(Result result) const {
    if (result.ok()) return result;
    if (left && absl::IsCancelled(result.status())) return std::nullopt;
    return WithMissingTool(result.status());
  }
  void Say(std::string_view line) { terminal->Print(fmt::format("kdbgd: {}\r\n", line)); }
};

ConfigEditor::Result ConfigEditor::Work::Edit(const BuildParts& parts,
                                              const ConfigEditorSettings& settings,
                                              const fs::path& scratch, std::stop_token stop) {
  KDBG_ASSIGN_OR_RETURN(BuildRun run, Prepare(parts, settings, scratch, stop));
  Say(fmt::format("checking out what sources/{} is configured by", source.id));
  for (const auto& files : {kWithoutProgramText, kScripts}) {
    KDBG_RETURN_IF_ERROR(parts.objects.CheckoutPart(source.tree, files, scratch / "index",
                                                    run.directories().source, stop));
  }
  Say("making the config to start from");
  const BuildOrigin origin{.build_id = {},
                           .source_id = source.id,
                           .source_text = {},
                           .tree = {},
                           .version = source.project_version};
  KernelBuilder kernel(run, parts.blobs, request.kernel, toolchain, origin);
  KDBG_RETURN_IF_ERROR(kernel.Configure());
  at_program = true;
  return kernel.Edit(
      request.program,
      {.relay = *terminal, .type = request.terminal_type, .idle_limit = settings.idle_limit});
}

absl::StatusOr<BuildRun> ConfigEditor::Work::Prepare(const BuildParts& parts,
                                                     const ConfigEditorSettings& settings,
                                                     const fs::path& scratch,
                                                     std::stop_token stop) const {
  KDBG_RETURN_IF_ERROR(MakeDirectory(scratch, 0700));
  const BuildDirectories directories{.source = scratch / "src",
                                     .build = scratch / "build",
                                     .ccache = parts.workspaces.CcacheDir(owner),
                                     .trusted_ccache = parts.workspaces.trusted_ccache_dir()};
  for (const fs::path& path : {directories.source, directories.build}) {
    KDBG_RETURN_IF_ERROR(MakeDirectory(path, 0755));
  }
  std::error_code error;
  if (!fs::exists(directories.ccache, error)) {
    KDBG_RETURN_IF_ERROR(MakeDirectory(directories.ccache, 0755));
  }
  KDBG_ASSIGN_OR_RETURN(BuildLog log, BuildLog::Open(scratch / "log", kLogLimit));
  KDBG_ASSIGN_OR_RETURN(std::optional<host::Identity> run_as, parts.build_identity(owner));
  BuildRun::Parts run{.runner = parts.runner,
                      .name = fmt::format("{} of sources/{}", request.program, source.id),
                      .directories = directories,
                      .run_as = run_as,
                      .limits = {.memory_bytes = kMemoryLimit,
                                 .processes = kProcessLimit,
                                 .file_bytes = kFileLimit},
                      .jobs = 1,
                      .ccache_limit_mib = settings.ccache_limit_mib,
                      .stop = std::move(stop),
                      .on_change = [](const BuildProgress&, std::int64_t) {},
                      .on_log = [] {}};
  return BuildRun(std::move(run), std::move(log), BuildProgress());
}

// ---- The caller's end

ConfigEditor::ConfigEditor(std::shared_ptr<Work> work, std::stop_source stop)
    : work_(std::move(work)), stop_(std::move(stop)) {}

ConfigEditor::~ConfigEditor() { stop_.request_stop(); }

bool ConfigEditor::Type(std::string_view keys) {
  if (!work_->at_program && keys.find(kCtrlC) != std::string_view::npos) {
    work_->left = true;
    stop_.request_stop();
  }
  return work_->terminal->Type(keys);
}

void ConfigEditor::Resize(host::TerminalSize size) { work_->terminal->Resize(size); }

std::string ConfigEditor::TakeOutput(std::size_t max_bytes) {
  return work_->terminal->TakeOutput(max_bytes);
}

std::optional<ConfigEditor::Result> ConfigEditor::result() const {
  absl::MutexLock lock(&work_->mutex);
  return work_->result;
}

// ---- ConfigEditors

ConfigEditors::ConfigEditors(const BuildParts& parts, const ConfigEditorSettings& settings)
    : parts_(parts), settings_(settings) {}

absl::StatusOr<std::unique_ptr<ConfigEditors>> ConfigEditors::Open(
    const BuildParts& parts, const ConfigEditorSettings& settings) {
  KDBG_RETURN_IF_ERROR(MakeDirectory(settings.directory, 0700));
  std::error_code error;
  for (const auto& left : fs::directory_iterator(settings.directory, error)) {
    fs::remove_all(left.path(), error);
  }
  return std::unique_ptr<ConfigEditors>(new ConfigEditors(parts, settings));
}

ConfigEditors::~ConfigEditors() {
  absl::MutexLock lock(&mutex_);
  for (Running& running : running_) running.thread.request_stop();
  running_.clear();  // joins
}

absl::Status ConfigEditors::MakeRoom(std::string_view owner) {
  std::erase_if(running_, [](const Running& running) { return running.work->gone.load(); });
  const auto own = std::count_if(running_.begin(), running_.end(), [&](const Running& running) {
    return running.work->owner == owner;
  });
  const bool mine = own >= settings_.maximum_per_owner;
  if (!mine && static_cast<int>(running_.size()) < settings_.maximum) return absl::OkStatus();
  const int limit = mine ? settings_.maximum_per_owner : settings_.maximum;
  return MakeError(
      absl::StatusCode::kResourceExhausted, Reason::kTooManyCalls,
      fmt::format("{} {} config editors open already, the most there may be: leave one",
                  mine ? "you have" : "this server has", limit),
      {{"limit", std::to_string(limit)}});
}

absl::StatusOr<std::unique_ptr<ConfigEditor>> ConfigEditors::Start(std::string_view owner,
                                                                   const ConfigEditRequest& request,
                                                                   std::function<void()> changed) {
  auto work = std::make_shared<ConfigEditor::Work>();
  work->owner = std::string(owner);
  work->request = request;
  KDBG_ASSIGN_OR_RETURN(work->source, parts_.sources.Get(request.source_id));
  BuildRequest as_build;
  as_build.source_id = request.source_id;
  as_build.spec = request.kernel;
  KDBG_RETURN_IF_ERROR(CheckRequest(as_build, work->source, parts_.objects));
  KDBG_ASSIGN_OR_RETURN(work->toolchain,
                        FindToolchain(request.kernel.architecture, Target::kKernel));
  work->changed = std::move(changed);
  KDBG_ASSIGN_OR_RETURN(work->terminal,
                        host::TerminalRelay::Create(request.size, parts_.clock, work->changed));

  absl::MutexLock lock(&mutex_);
  KDBG_RETURN_IF_ERROR(MakeRoom(owner));
  std::jthread thread([this, work](std::stop_token stop) {
    {
      const Scratch scratch(settings_.directory / NewId("edit"));
      ConfigEditor::Result result = work->Edit(parts_, settings_, scratch.path(), std::move(stop));
      {
        absl::MutexLock work_lock(&work->mutex);
        work->result = work->Final(std::move(result));
      }
      work->changed();
    }
    work->gone = true;
  });
  std::unique_ptr<ConfigEditor> editor(new ConfigEditor(work, thread.get_stop_source()));
  running_.push_back({.work = std::move(work), .thread = std::move(thread)});
  return editor;
}

}  // namespace kdbg::build
