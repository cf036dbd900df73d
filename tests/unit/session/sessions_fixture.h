// Real sessions over machines that exist only as records and a stub with QEMU's manners.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/support/file.h"
#include "proto/support/unique_fd.h"
#include "server/gdb/gateway.h"
#include "server/gdb/io_thread.h"
#include "server/guest/io_watcher.h"
#include "server/session/session_parts.h"
#include "server/session/session_table.h"
#include "server/session/sessions.h"
#include "server/source/upload_store.h"
#include "tests/support/fake_clock.h"
#include "tests/support/fake_hypervisor.h"
#include "tests/support/fake_stub.h"

namespace kdbg::session {

class SessionsTest : public ::testing::Test {
 protected:
  SessionsTest() : root_(std::filesystem::temp_directory_path() / NewName()) {
    std::filesystem::create_directories(root_ / "guests");
    std::vector<state::Migration> migrations;
    for (const auto& some : {store::ArtifactStore::Migrations(), SessionMigrations(),
                             source::UploadStore::Migrations()}) {
      migrations.insert(migrations.end(), some.begin(), some.end());
    }
    database_ = *state::Database::Open(root_ / "db", migrations);
    blobs_ = *store::BlobStore::Open(root_ / "store");
    artifacts_ = std::make_unique<store::ArtifactStore>(*database_, *blobs_, clock_);
    uploads_ = *source::UploadStore::Open(root_ / "uploads", *database_, clock_, {});
    watcher_ = *guest::IoWatcher::Start();
    limits_.first_port = 0;  // any free one
    limits_.last_port = 0;
    limits_.boot_timeout = absl::Seconds(20);
    PublishKernel();
    hypervisor_.on_create = [this](const vm::DomainSpec& domain) {
      UniqueFd(::open(domain.console_log.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
      auto stub = std::make_shared<FakeStub>(domain.gdb_socket.string());
      stub->HitOnContinue(hit_);
      absl::MutexLock lock(&mutex_);
      stubs_[domain.name] = std::move(stub);
      return absl::OkStatus();
    };
    Open();
  }
  ~SessionsTest() override {
    sessions_.reset();
    std::filesystem::remove_all(root_);
  }

  static std::string NewName() {
    return "ks" + std::to_string(::getpid()) + "." +
           ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  void Open() {
    sessions_.reset();
    copy_room_ = std::make_unique<CopyRoom>(copy_floor_bytes_);
    auto opened = Sessions::Open(
        {.database = *database_,
         .artifacts = *artifacts_,
         .blobs = *blobs_,
         .guest_host = {.hypervisor = hypervisor_, .io_thread = io_thread_, .watcher = *watcher_},
         .gateway = gateway_,
         .clock = clock_,
         .copy_room = *copy_room_,
         .uploads = *uploads_,
         .guests_directory = root_ / "guests",
         .kvm_usable = false,
         .kvm_reason = "none here",
         .guest_identity = [](std::string_view) { return std::optional<host::Identity>(); },
         .templates_directory = root_ / "templates",
         .uid_of = [](const std::string&) { return std::optional<uid_t>(); },
         .on_gdb_visit = [](const GdbVisit&) {}},
        limits_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    sessions_ = *std::move(opened);
  }

  void PublishKernel() {
    store::Artifact kernel;
    kernel.kind = store::ArtifactKind::kKernel;
    kernel.owner = "alice";
    kernel.architecture = "x86_64";
    kernel.gnu_build_id = "abcd";
    const std::map<std::string, std::string> files = {
        {"bzImage", "image"},
        {"vmlinux", "symbols"},
        {"System.map", "ffffffff81000100 T start_kernel\n"}};
    for (const auto& [path, content] : files) {
      const auto blob = blobs_->PutBytes(content);
      kernel.files.push_back(
          {.path = path, .digest = blob->digest, .size_bytes = blob->size_bytes});
    }
    ASSERT_TRUE(database_
                    ->Write([&](state::Transaction& transaction) {
                      auto published = artifacts_->Publish(transaction, kernel);
                      if (published.ok()) request_.kernel_artifact = published->id;
                      return published.status();
                    })
                    .ok());
  }

  absl::StatusOr<SessionRecord> Create() { return sessions_->Create("alice", request_); }

  // The record once `wanted` holds of it; the last one seen when that does not come in 20 s.
  SessionRecord Await(const std::string& id, std::function<bool(const SessionRecord&)> wanted) {
    absl::Mutex mutex;
    bool changed = true;
    const Subscription subscription = sessions_->Subscribe(id, [&](const SessionRecord&) {
      absl::MutexLock lock(&mutex);
      changed = true;
    });
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    for (;;) {
      {
        absl::MutexLock lock(&mutex);
        mutex.AwaitWithDeadline(absl::Condition(&changed), deadline);
        changed = false;
      }
      const auto record = sessions_->Get(id);
      if (!record.ok()) return {};
      if (wanted(*record) || absl::Now() >= deadline) return *record;
    }
  }
  SessionRecord AwaitState(const std::string& id, SessionState state) {
    return Await(id, [&](const SessionRecord& record) {
      return record.state == state && (!IsFinal(state) || record.end_time.has_value());
    });
  }
  std::string CreateReady() {
    const auto record = Create();
    EXPECT_TRUE(record.ok()) << record.status();
    EXPECT_EQ(AwaitState(record->id, SessionState::kReady).state, SessionState::kReady);
    return record->id;
  }
  std::shared_ptr<FakeStub> StubOf(const std::string& id) {
    absl::MutexLock lock(&mutex_);
    return stubs_["kdbg-" + id];
  }
  std::vector<std::string> PinsOfKernel() {
    return artifacts_->Get(request_.kernel_artifact)->pins;
  }

  const std::filesystem::path root_;
  FakeClock clock_;
  FakeHypervisor hypervisor_;
  bool hit_ = true;  // the guest reaches its breakpoint at once
  absl::Mutex mutex_;
  std::map<std::string, std::shared_ptr<FakeStub>> stubs_;
  gdb::IoThread io_thread_;
  gdb::Gateway gateway_{io_thread_};
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<store::BlobStore> blobs_;
  std::unique_ptr<store::ArtifactStore> artifacts_;
  std::unique_ptr<source::UploadStore> uploads_;
  std::unique_ptr<guest::IoWatcher> watcher_;
  std::int64_t copy_floor_bytes_ = 0;
  std::unique_ptr<CopyRoom> copy_room_;
  SessionLimits limits_;
  SessionRequest request_;
  std::unique_ptr<Sessions> sessions_;
};

}  // namespace kdbg::session
