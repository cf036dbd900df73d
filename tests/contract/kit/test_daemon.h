// The whole daemon but for its main: real services over real modules, on real unix sockets, with a
// sandbox that runs nothing and machines that are records.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "kdbg/v1/artifact_service.grpc.pb.h"
#include "kdbg/v1/build_service.grpc.pb.h"
#include "kdbg/v1/server_service.grpc.pb.h"
#include "kdbg/v1/session_service.grpc.pb.h"
#include "kdbg/v1/source_service.grpc.pb.h"
#include "server/access/enrolled_users.h"
#include "server/app/metrics_feed.h"
#include "server/build/builds.h"
#include "server/build/config_editor.h"
#include "server/build/trusted_builds.h"
#include "server/gdb/gateway.h"
#include "server/gdb/io_thread.h"
#include "server/guest/io_watcher.h"
#include "server/observe/audit.h"
#include "server/observe/health.h"
#include "server/service/artifact_service.h"
#include "server/service/build_service.h"
#include "server/service/grpc_server.h"
#include "server/service/server_service.h"
#include "server/service/session_service.h"
#include "server/service/source_service.h"
#include "server/service/user_service.h"
#include "server/session/session_parts.h"
#include "server/session/sessions.h"
#include "server/source/object_database.h"
#include "server/source/seed_store.h"
#include "server/source/source_catalog.h"
#include "server/source/trusted_sources.h"
#include "server/source/upload_store.h"
#include "server/source/workspace.h"
#include "server/state/database.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"
#include "tests/contract/kit/service_test_kit.h"
#include "tests/support/fake_hypervisor.h"
#include "tests/support/fake_sandbox_runner.h"
#include "tests/support/fake_stub.h"

namespace kdbg {

// Every stub of one caller, on one connection.
struct Client {
  explicit Client(std::shared_ptr<grpc::Channel> to);
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::SourceService::Stub> sources;
  std::unique_ptr<v1::BuildService::Stub> builds;
  std::unique_ptr<v1::ArtifactService::Stub> artifacts;
  std::unique_ptr<v1::SessionService::Stub> sessions;
  std::unique_ptr<v1::ServerService::Stub> server;
};

// A build that has succeeded, with its artifact.
struct SeededBuild {
  std::string build_id;
  std::string artifact_id;
};

class RecordedAudit final : public observe::AuditSink {
 public:
  void Write(const observe::AuditRecord& record) override {
    absl::MutexLock lock(&mutex_);
    records_.push_back(record);
  }
  // Of this action, so far.
  std::vector<observe::AuditRecord> Of(const std::string& action) const {
    absl::MutexLock lock(&mutex_);
    std::vector<observe::AuditRecord> found;
    std::copy_if(records_.begin(), records_.end(), std::back_inserter(found),
                 [&](const observe::AuditRecord& record) { return record.action == action; });
    return found;
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<observe::AuditRecord> records_ ABSL_GUARDED_BY(mutex_);
};

class TestDaemon {
 public:
  explicit TestDaemon(service::GateLimits gate = {});
  ~TestDaemon();

  Client As(uid_t uid) { return Client(ConnectAs(uid, directory_.path())); }
  // A caller by a certificate of this name, as the TLS listener would pass them on.
  Client AsEnrolled(const std::string& user);
  std::filesystem::path socket() const { return directory_.path() / "kdbgd.sock"; }
  const std::filesystem::path& directory() const { return directory_.path(); }
  // Absolute; server paths below it are allowed as sources.
  std::filesystem::path allowed_path() const { return directory_.path() / "allowed"; }

  SeededBuild SeedKernel(const std::string& owner, bool is_private = false,
                         const std::string& vmlinux = std::string(600'000, 'v'));
  SeededBuild SeedInitramfs(const std::string& owner,
                            Architecture architecture = HostArchitecture());
  // A tar of one small file per name, as bytes.
  std::string Tar(const std::map<std::string, std::string>& files);

  // Uploads and imports a tree of these files as the client; the name of the source, once it is
  // ready.
  std::string Import(Client& client, const std::map<std::string, std::string>& files);

  // As the guest of this session would print.
  void Print(const std::string& session_id, const std::string& text);
  // What was typed on its console so far; waits for at least `bytes`.
  std::string Typed(const std::string& session_id, std::size_t bytes);

  // As Prometheus would be told now; counts from the first call on.
  std::string Scrape();

  // What no caller holds any more has gone when this returns; none can be opened afterwards.
  void CloseEditors();

  const RecordedAudit& audit() const { return audit_; }
  FakeHypervisor& hypervisor() { return hypervisor_; }
  host::FakeSandboxRunner& runner() { return runner_; }
  session::Sessions& sessions() { return *sessions_; }
  store::BlobStore& blobs() { return *blobs_; }
  service::GrpcServer& server() { return *server_; }

 private:
  // What a machine's QEMU would have made.
  struct Machine {
    vm::DomainSpec spec;
    std::unique_ptr<FakeStub> stub;
    UniqueFd console;  // listening
    UniqueFd console_client;
  };
  absl::Status OnCreate(const vm::DomainSpec& spec);
  SeededBuild Seed(store::Artifact artifact, build::BuildRequest request);

  TestDirectory directory_;
  RecordedAudit audit_;
  SystemClock clock_;
  TestAccounts accounts_;
  access::Users users_;
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<access::Grants> grants_;
  std::unique_ptr<store::BlobStore> blobs_;
  std::unique_ptr<store::Retention> retention_;
  std::unique_ptr<store::ArtifactStore> artifacts_;
  std::unique_ptr<source::UploadStore> uploads_;
  std::unique_ptr<source::ObjectDatabase> objects_;
  std::unique_ptr<source::SourceCatalog> sources_;
  std::unique_ptr<source::Workspaces> workspaces_;
  std::unique_ptr<source::SeedStore> seeds_;
  std::unique_ptr<source::TrustedSources> trusted_;
  host::FakeSandboxRunner runner_;
  std::unique_ptr<build::Builds> builds_;
  std::unique_ptr<build::ConfigEditors> editors_;
  std::unique_ptr<build::TrustedBuilds> trusted_builds_;
  FakeHypervisor hypervisor_;
  absl::Mutex mutex_;
  std::map<std::string, Machine> machines_ ABSL_GUARDED_BY(mutex_);  // by session id
  std::unique_ptr<guest::IoWatcher> watcher_;
  gdb::IoThread io_thread_;
  gdb::Gateway gateway_{io_thread_};
  session::CopyRoom copy_room_{0};
  std::unique_ptr<session::Sessions::Parts> session_parts_;
  std::unique_ptr<session::Sessions> sessions_;
  std::unique_ptr<access::EnrolledUsers> enrolled_;
  service::ConnectionBook connections_;
  std::unique_ptr<service::CallGate> gate_;
  Subscription audited_calls_;
  const observe::Health health_{
      {{"guests", "kdbg.v1.SessionService", [this] { return hypervisor_.Health(); }}}};
  std::unique_ptr<app::MetricsFeed> metrics_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<service::GrpcServer> server_;
};

}  // namespace kdbg
