// A Builds over fakes of sandbox and time, with real stores in a directory of its own.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "proto/support/subprocess.h"
#include "server/base/clock.h"
#include "server/build/builds.h"
#include "server/source/object_database.h"
#include "server/source/seed_store.h"
#include "server/source/source_catalog.h"
#include "server/source/trusted_sources.h"
#include "server/source/upload_store.h"
#include "server/source/workspace.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"
#include "tests/support/fake_sandbox_runner.h"

namespace kdbg::build {

namespace fs = std::filesystem;

inline constexpr std::string_view kConfig =
    "CONFIG_DEBUG_INFO=y\nCONFIG_GDB_SCRIPTS=y\nCONFIG_KALLSYMS=y\nCONFIG_FRAME_POINTER=y\n"
    "CONFIG_CC_VERSION_TEXT=\"gcc 12\"\n";

inline void Write(const fs::path& path, std::string_view bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

inline host::SandboxResult Ended(int code, host::EndCause cause) {
  host::SandboxResult result;
  result.status.code = code;
  result.cause = cause;
  return result;
}

// gdb's index is made beside whatever else runs, so it must not take what a test laid out for a
// build.
class RoutingRunner : public host::SandboxRunner {
 public:
  absl::StatusOr<std::unique_ptr<host::SandboxRun>> Start(const host::Sandbox& sandbox, int in,
                                                          int out, int error) override {
    host::FakeSandboxRunner& to = sandbox.argv[0] == "gdb" ? for_gdb : for_builds;
    return to.Start(sandbox, in, out, error);
  }
  host::SandboxAbility Probe() override { return for_builds.Probe(); }

  host::FakeSandboxRunner for_builds;
  host::FakeSandboxRunner for_gdb;
};

// The real store, sources and workspaces; a runner that leaves the files a test wants.
class BuildsTest : public ::testing::Test {
 protected:
  BuildsTest() {
    std::string name = ::testing::TempDir() + "kdbg-builds-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    OpenAll();
  }
  ~BuildsTest() override {
    CloseAll();
    fs::remove_all(directory_);
  }

  void OpenAll() {
    std::vector<state::Migration> all;
    for (const auto& some : {store::ArtifactStore::Migrations(), source::UploadStore::Migrations(),
                             source::SourceCatalog::Migrations(), source::Workspaces::Migrations(),
                             source::SeedStore::Migrations(), Builds::Migrations()}) {
      all.insert(all.end(), some.begin(), some.end());
    }
    database_ = *state::Database::Open(directory_ / "state.db", all);
    blobs_ = *store::BlobStore::Open(directory_ / "blobs");
    artifacts_ = std::make_unique<store::ArtifactStore>(*database_, *blobs_, clock_);
    objects_ = *source::ObjectDatabase::Open(directory_ / "objects.git");
    uploads_ = *source::UploadStore::Open(directory_ / "uploads", *database_, clock_, {});
    source::SourceSettings settings;
    settings.allowed_paths = {directory_};
    settings.remotes.allowed_urls = {"file://" + directory_.string()};
    settings.mirrors = directory_ / "mirrors";
    sources_ = *source::SourceCatalog::Open(*database_, *objects_, *uploads_, clock_, settings);
    workspaces_ = *source::Workspaces::Open(directory_ / "w", *database_, *objects_, clock_);
    seeds_ = *source::SeedStore::Open(directory_ / "seeds", *database_, *objects_, clock_);
    OpenBuilds();
  }
  void OpenBuilds() {
    BuildParts parts{*database_,
                     *artifacts_,
                     *blobs_,
                     *sources_,
                     *objects_,
                     *workspaces_,
                     *uploads_,
                     *seeds_,
                     routing_runner_,
                     clock_,
                     [](std::string_view) -> absl::StatusOr<std::optional<host::Identity>> {
                       return std::nullopt;
                     }};
    BuildSettings settings;
    settings.logs_directory = directory_ / "logs";
    settings.index_directory = directory_ / "gdb-index";
    settings.jobs = 3;
    settings.free_space_floor_bytes = free_space_floor_;
    builds_ = *Builds::Open(parts, settings);
  }
  void CloseAll() {
    builds_.reset();
    seeds_.reset();
    workspaces_.reset();
    sources_.reset();
  }

  std::string Import(const std::string& name) {
    const fs::path tarball = directory_ / (name + ".tar");
    Subprocess::Options tar;
    tar.argv = {"tar", "-C", directory_.string(), "-cf", tarball.string(), name};
    EXPECT_TRUE(RunCommand(tar)->status.ok());
    absl::Notification ready;
    source::SourceOrigin origin;
    origin.kind = source::OriginKind::kServerPath;
    origin.text = tarball.string();
    std::string id;
    const Subscription subscription = sources_->Subscribe([&](const source::SourceRecord& source) {
      if (source.state != source::SourceState::kImporting && !ready.HasBeenNotified()) {
        ready.Notify();
      }
    });
    source::SourceRequest request;
    request.owner = "alice";
    request.origin = origin;
    const auto source = sources_->Create(request);
    EXPECT_TRUE(source.ok()) << source.status();
    if (sources_->Get(source->id)->state == source::SourceState::kImporting) {
      ready.WaitForNotification();
    }
    EXPECT_EQ(sources_->Get(source->id)->project.empty(), name == "other");
    return source->id;
  }
  std::string KernelSource(std::string_view main = "void start_kernel(void) {}\n") {
    const fs::path tree = directory_ / "linux";
    Write(tree / "Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n");
    Write(tree / "kernel/fork.c", "");
    Write(tree / "init/main.c", main);
    Write(tree / "Kconfig",
          "config NET\n\tbool \"n\"\nconfig INET\n\tbool \"i\"\n\tdepends on NET\n");
    Write(tree / "scripts/gdb/linux/tasks.py", "pass\n");
    Write(tree / "scripts/gdb/vmlinux-gdb.py", "pass\n");
    return Import("linux");
  }

  // What `make` would leave: first the config, then the kernel.
  void ExpectConfigure(std::string_view config = kConfig) {
    runner_.Expect({.output = "configuring\n",
                    .error = {},
                    .result = {},
                    .effect = [config = std::string(config)](const host::Sandbox& sandbox) {
                      const auto path = [&](const char* name) {
                        return host::FakeSandboxRunner::HostPath(sandbox, name);
                      };
                      Write(path("/build/.kdbg/work.config"), config);
                      Write(path("/build/.config"), config);
                    }});
  }
  // A command that says `output` and then runs until somebody ends it.
  void ExpectUntilCancelled(absl::Notification& started, std::string output = {}) {
    runner_.Expect({.output = std::move(output),
                    .error = {},
                    .result = {},
                    .until_cancelled = true,
                    .effect = [&](const host::Sandbox&) { started.Notify(); }});
  }

  void ExpectCompile(std::string vmlinux = KERNEL_WITH_DEBUG) {
    runner_.Expect({.output = "  CC      init/main.o\n  CC      kernel/fork.o\n  LD      vmlinux\n",
                    .error = {},
                    .result = {},
                    .effect = [vmlinux](const host::Sandbox& sandbox) {
                      const fs::path build = host::FakeSandboxRunner::HostPath(sandbox, "/build/x");
                      const fs::path at = build.parent_path();
                      fs::copy_file(vmlinux, at / "vmlinux", fs::copy_options::overwrite_existing);
                      Write(at / "arch/x86/boot/bzImage", "image");
                      Write(at / "System.map", "0 T start_kernel\n");
                      Write(at / "include/config/kernel.release", "6.1.7\n");
                      Write(at / "scripts/gdb/linux/constants.py", "pass\n");
                      Write(at / "compile_commands.json", "[]\n");
                      Write(at / ".kdbg/ccache.log",
                            "# a.c\ndirect_cache_hit\n# b.c\ncache_miss\n");
                    }});
  }

  BuildRequest KernelRequestOf(const std::string& source) {
    BuildRequest request;
    request.source_id = source;
    KernelRequest kernel;
    kernel.architecture = Architecture::kX86_64;
    request.spec = kernel;
    return request;
  }
  BuildRecord Finish(const BuildRecord& build) {
    absl::Notification done;
    const Subscription subscription = builds_->Subscribe(build.id, [&](const BuildRecord& record) {
      if (IsFinal(record.state) && !done.HasBeenNotified()) done.Notify();
    });
    if (!IsFinal(builds_->Get(build.id)->state)) done.WaitForNotification();
    return *builds_->Get(build.id);
  }
  BuildRecord Run(const BuildRequest& request) {
    const auto build = builds_->Create("alice", request);
    EXPECT_TRUE(build.ok()) << build.status();
    return Finish(*build);
  }
  std::string LogOf(const BuildRecord& build) {
    return builds_->ReadLog(build.id, 0, 1 << 20)->data;
  }

  fs::path directory_;
  std::int64_t free_space_floor_ = 0;
  SystemClock clock_;
  RoutingRunner routing_runner_;
  host::FakeSandboxRunner& runner_ = routing_runner_.for_builds;
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<store::BlobStore> blobs_;
  std::unique_ptr<store::ArtifactStore> artifacts_;
  std::unique_ptr<source::ObjectDatabase> objects_;
  std::unique_ptr<source::UploadStore> uploads_;
  std::unique_ptr<source::SourceCatalog> sources_;
  std::unique_ptr<source::Workspaces> workspaces_;
  std::unique_ptr<source::SeedStore> seeds_;
  std::unique_ptr<Builds> builds_;
};

}  // namespace kdbg::build
