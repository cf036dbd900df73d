#include "server/build/gdb_indexer.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/build/outputs.h"
#include "server/host/sandbox.h"
#include "server/observe/log.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"

namespace kdbg::build {

GdbIndexer::GdbIndexer(const BuildParts& parts, BuildTable& table, std::filesystem::path scratch)
    : parts_(parts), table_(table), scratch_(std::move(scratch)) {
  if (auto wanted = table_.IndexesWanted(); wanted.ok()) {
    absl::MutexLock lock(&mutex_);
    waiting_.assign(wanted->begin(), wanted->end());
  }
  thread_ = std::jthread([this](const std::stop_token& stop) { Work(stop); });
}

GdbIndexer::~GdbIndexer() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  thread_.request_stop();
  thread_.join();
}

void GdbIndexer::Add(std::string artifact_id) {
  absl::MutexLock lock(&mutex_);
  waiting_.push_back(std::move(artifact_id));
}

void GdbIndexer::Work(const std::stop_token& stop) {
  while (true) {
    std::string artifact_id;
    {
      absl::MutexLock lock(&mutex_);
      const auto awake = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
        return ending_ || !waiting_.empty();
      };
      mutex_.Await(absl::Condition(&awake));
      if (ending_) return;
      artifact_id = std::move(waiting_.front());
      waiting_.pop_front();
    }
    const absl::Status status = MakeIndex(artifact_id, stop);
    if (stop.stop_requested()) return;
    // A kernel without an index is slower to open, not broken; trying for ever would help nobody.
    if (!status.ok()) {
      spdlog::warn("no gdb index for artifacts/{}: {}", artifact_id, status.ToString());
    }
    if (absl::Status done = table_.SetIndexDone(artifact_id); !done.ok()) {
      spdlog::warn("artifacts/{}: {}", artifact_id, done.ToString());
    }
  }
}

// gdb reads an ELF file that somebody's makefiles produced, so it runs where they did.
absl::Status GdbIndexer::MakeIndex(const std::string& artifact_id, const std::stop_token& stop) {
  KDBG_ASSIGN_OR_RETURN(const store::Artifact artifact, parts_.artifacts.Get(artifact_id));
  const store::ArtifactFile* vmlinux = artifact.FindFile("vmlinux");
  if (vmlinux == nullptr || artifact.FindFile(kGdbIndexPath) != nullptr) return absl::OkStatus();
  KDBG_ASSIGN_OR_RETURN(std::optional<host::Identity> run_as,
                        parts_.build_identity(artifact.owner));
  const std::filesystem::path work = scratch_ / artifact_id;
  std::error_code ignored;
  std::filesystem::remove_all(work, ignored);
  KDBG_RETURN_IF_ERROR(MakeDirectories(scratch_, 0700));
  KDBG_RETURN_IF_ERROR(MakeDirectories(work, 0700));

  host::Sandbox sandbox;
  sandbox.label = fmt::format("artifacts/{} gdb-index", artifact_id);
  sandbox.run_as = run_as;
  sandbox.binds = {{parts_.blobs.PathOf(vmlinux->digest), "/in/vmlinux", host::Access::kReadOnly},
                   {work, "/build", host::Access::kWritable}};
  const ArchitectureTraits* traits = FindArchitecture(artifact.architecture);
  const Architecture architecture = traits ? traits->architecture : HostArchitecture();
  sandbox.argv = {std::string(GdbFor(architecture)),
                  "-nx",
                  "-nh",
                  "-batch",
                  "-iex",
                  "set auto-load no",
                  "-ex",
                  "save gdb-index /build",
                  "/in/vmlinux"};
  sandbox.environment = {"LC_ALL=C"};
  sandbox.working_directory = "/build";
  sandbox.limits.wall_time = absl::Minutes(10);
  sandbox.limits.memory_bytes = std::int64_t{8} << 30;
  sandbox.limits.processes = 64;
  sandbox.limits.nice = 19;
  KDBG_ASSIGN_OR_RETURN(const std::unique_ptr<host::SandboxRun> run,
                        parts_.runner.Start(sandbox, -1, -1, -1));
  host::SandboxResult result;
  {
    const std::stop_callback cancel(stop, [&run] { run->Cancel(); });
    result = run->Wait();
  }
  absl::Status status;
  if (result.ok()) {
    Outputs outputs(parts_.blobs);
    status = outputs.Take(work, kGdbIndexPath, std::string(kGdbIndexPath));
    if (status.ok()) status = parts_.artifacts.AddFile(artifact_id, outputs.files()[0]);
  } else {
    status = absl::UnknownError(
        fmt::format("gdb {} ({})", host::EndCauseName(result.cause), result.status.Describe()));
  }
  std::filesystem::remove_all(work, ignored);
  return status;
}

}  // namespace kdbg::build
