#include "server/app/daemon.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "proto/support/default_paths.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/access/enrolled_users.h"
#include "server/access/owner_uids.h"
#include "server/access/users.h"
#include "server/app/access_parts.h"
#include "server/app/health_watch.h"
#include "server/app/housekeeping.h"
#include "server/app/metrics_feed.h"
#include "server/app/paths.h"
#include "server/app/settings.h"
#include "server/app/version.h"
#include "server/app/watchdog.h"
#include "server/base/clock.h"
#include "server/build/builds.h"
#include "server/build/config_editor.h"
#include "server/build/old_records.h"
#include "server/build/trusted_builds.h"
#include "server/build/trusted_remotes.h"
#include "server/gdb/gateway.h"
#include "server/gdb/io_thread.h"
#include "server/guest/guest.h"
#include "server/guest/io_watcher.h"
#include "server/host/accelerator.h"
#include "server/host/disk_space.h"
#include "server/host/memory.h"
#include "server/host/runner_client.h"
#include "server/host/runner_process.h"
#include "server/observe/audit.h"
#include "server/observe/log.h"
#include "server/service/artifact_service.h"
#include "server/service/build_service.h"
#include "server/service/call_audit.h"
#include "server/service/grpc_server.h"
#include "server/service/server_service.h"
#include "server/service/session_service.h"
#include "server/service/source_service.h"
#include "server/session/session_parts.h"
#include "server/session/session_table.h"
#include "server/session/sessions.h"
#include "server/source/object_database.h"
#include "server/source/seed_store.h"
#include "server/source/source_catalog.h"
#include "server/source/trusted_sources.h"
#include "server/source/upload_store.h"
#include "server/source/workspace.h"
#include "server/source/workspace_budget.h"
#include "server/state/database.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"
#include "server/vm/libvirt/libvirt_hypervisor.h"

namespace kdbg::app {
namespace {

std::vector<state::Migration> AllMigrations() {
  std::vector<state::Migration> all;
  for (const auto& some : {access::OwnerUids::Migrations(), access::EnrolledUsers::Migrations(),
                           access::Grants::Migrations(), store::ArtifactStore::Migrations(),
                           source::UploadStore::Migrations(), source::SourceCatalog::Migrations(),
                           source::Workspaces::Migrations(), source::SeedStore::Migrations(),
                           build::Builds::Migrations(), session::SessionMigrations()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

host::KvmProbe ProbeAsConfigured(const std::string& accelerator) {
  if (accelerator == "tcg") return {.usable = false, .reason = "turned off in the configuration"};
  return host::ProbeKvm();
}

}  // namespace

// Members in the order they are made; they end in the reverse.
class Daemon::Parts {
 public:
  absl::Status Start(const DaemonOptions& options);
  absl::Status Reload(const config::Config& config);
  void Watch(absl::Duration period, std::function<void()> alive);
  void Stop(absl::Duration grace) {
    if (server_ != nullptr) server_->Shutdown(grace);
  }

 private:
  absl::Status StartRunner(const DaemonOptions& options);
  absl::Status OpenState(const config::Config& config, const Remotes& trusted);
  absl::Status OpenBuilds(const config::Config& config, const Remotes& trusted);
  absl::Status OpenSessions(const config::Config& config);
  absl::Status OpenMetrics(const config::Metrics& settings);
  absl::Status Serve(const config::Config& config);
  std::vector<Chore> Chores();
  service::ServerFacts Facts(const config::Config& config) const;

  // One uid per owner needs the right to change uids, which the daemon has as root.
  access::UidRange OwnerUidRange(const config::Server& server) const {
    if (::geteuid() != 0) return {};
    return {.first = server.first_owner_uid, .count = server.owner_uid_count};
  }

  // Of who may debug at all: a port knows nothing but uids.
  std::optional<uid_t> UidForGdb(const std::string& user) {
    const std::optional<uid_t> uid = users_->UidOf(user);
    return uid && users_->FromUid(*uid).role >= access::Role::kUser ? uid : std::nullopt;
  }

  Paths paths_;
  absl::Duration record_age_;
  absl::Duration mirror_age_;
  SystemClock clock_;
  host::FdStore fd_store_{host::FdStore::HeldForUs()};
  std::unique_ptr<observe::AuditSink> audit_ = observe::OpenAudit();
  std::unique_ptr<host::RunnerProcess> runner_process_;
  std::unique_ptr<host::RunnerClient> runner_;
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<access::OwnerUids> owner_uids_;
  access::SystemAccounts accounts_;
  std::unique_ptr<access::Users> users_;
  std::unique_ptr<store::BlobStore> blobs_;
  std::unique_ptr<store::Retention> retention_;
  std::unique_ptr<store::ArtifactStore> artifacts_;
  std::unique_ptr<source::ObjectDatabase> objects_;
  std::unique_ptr<source::UploadStore> uploads_;
  std::unique_ptr<source::SourceCatalog> sources_;
  std::unique_ptr<source::Workspaces> workspaces_;
  std::unique_ptr<source::WorkspaceBudget> workspace_budget_;
  std::unique_ptr<source::SeedStore> seeds_;
  std::unique_ptr<source::TrustedSources> trusted_;
  std::unique_ptr<build::Builds> builds_;
  std::unique_ptr<build::OldRecords> old_records_;
  std::unique_ptr<build::ConfigEditors> editors_;
  std::unique_ptr<build::TrustedBuilds> trusted_builds_;
  std::unique_ptr<build::TrustedRemotes> trusted_remotes_;
  std::unique_ptr<vm::LibvirtHypervisor> hypervisor_;
  std::unique_ptr<guest::IoWatcher> watcher_;
  std::unique_ptr<gdb::IoThread> io_thread_;
  std::unique_ptr<gdb::Gateway> gateway_;
  host::KvmProbe kvm_;
  std::unique_ptr<session::CopyRoom> copy_room_;
  std::unique_ptr<session::Sessions> sessions_;
  AccessParts access_;
  Subscription audited_calls_;
  std::unique_ptr<HealthWatch> health_;
  std::unique_ptr<MetricsFeed> metrics_;  // null: nobody asks for them
  std::unique_ptr<service::SourceServiceImpl> source_service_;
  std::unique_ptr<service::BuildServiceImpl> build_service_;
  std::unique_ptr<service::ArtifactServiceImpl> artifact_service_;
  std::unique_ptr<service::SessionServiceImpl> session_service_;
  std::unique_ptr<service::ServerServiceImpl> server_service_;
  std::unique_ptr<service::GrpcServer> server_;
  std::unique_ptr<Housekeeping> housekeeping_;
  std::unique_ptr<Housekeeping> health_chore_;
  std::unique_ptr<Watchdog> watchdog_;
};

absl::Status Daemon::Parts::Start(const DaemonOptions& options) {
  const config::Config& config = options.config;
  KDBG_ASSIGN_OR_RETURN(paths_, MakePaths(config.server));
  record_age_ = config.build.record_age;
  mirror_age_ = config.build.mirror_age;
  KDBG_ASSIGN_OR_RETURN(const Remotes trusted, TrustedRemotesFrom(config.build));
  KDBG_RETURN_IF_ERROR(StartRunner(options));
  KDBG_RETURN_IF_ERROR(OpenState(config, trusted));
  KDBG_RETURN_IF_ERROR(OpenBuilds(config, trusted));
  KDBG_RETURN_IF_ERROR(OpenSessions(config));
  health_ = std::make_unique<HealthWatch>(
      HealthWatch::Parts{.hypervisor = *hypervisor_,
                         .runner = *runner_,
                         .run_as = [this] { return owner_uids_->For(source::kTrustedOwner); },
                         .state_directory = paths_.state,
                         .free_space_floor_bytes = config.build.free_space_floor_mib * kMib});
  KDBG_RETURN_IF_ERROR(OpenMetrics(config.metrics));
  KDBG_RETURN_IF_ERROR(Serve(config));
  housekeeping_ = std::make_unique<Housekeeping>(Chores());
  health_chore_ =
      std::make_unique<Housekeeping>(std::vector<Chore>{health_->LookAndTell(*server_)});
  return absl::OkStatus();
}

std::vector<Chore> Daemon::Parts::Chores() {
  return {
      {.name = "a look at the TLS certificates",
       .period = absl::Minutes(1),
       .run = [this](std::stop_token) { return access_.ReloadKeys(); }},
      {.name = "removal of abandoned uploads",
       .period = absl::Hours(1),
       .run = [this](std::stop_token) { return uploads_->RemoveExpired(); }},
      {.name = "removal of unused artifacts",
       .period = absl::Hours(1),
       .run = [this](std::stop_token stop) { return retention_->Run({}, stop).status(); }},
      {.name = "removal of unnamed artifact files",
       .period = absl::Hours(1),
       .run = [this](std::stop_token) { return artifacts_->CollectGarbage().status(); }},
      {.name = "removal of unused workspaces",
       .period = absl::Hours(1),
       .run = [this](std::stop_token stop) { return workspace_budget_->Keep(stop); }},
      {.name = "removal of old records",
       .period = absl::Hours(6),
       .run = [this](std::stop_token stop) { return old_records_->Remove(record_age_, stop); }},
      {.name = "removal of unused mirrors",
       .period = absl::Hours(1),
       .run = [this](std::stop_token) { return sources_->RemoveUnusedMirrors(mirror_age_); }},
      {.name = "fetching of trusted remotes",
       .period = absl::Minutes(1),  // a look; each has a period of its own
       .run =
           [this](std::stop_token) {
             return access_.gate().closed() ? absl::OkStatus() : trusted_remotes_->KeepUp();
           }},
      {.name = "builds of trusted sources",
       .period = absl::Minutes(10),
       .run =
           [this](std::stop_token) {
             return access_.gate().closed() ? absl::OkStatus() : trusted_builds_->KeepUp();
           }},
      {.name = "packing of sources",
       .period = absl::Hours(1),
       .run = [this](std::stop_token stop) { return objects_->CollectGarbage(std::move(stop)); }},
  };
}

absl::Status Daemon::Parts::StartRunner(const DaemonOptions& options) {
  const config::Server& server = options.config.server;
  if (!server.runner_socket.empty()) {
    runner_ = std::make_unique<host::RunnerClient>(server.runner_socket);
    return absl::OkStatus();
  }
  const access::UidRange uids = OwnerUidRange(server);
  KDBG_ASSIGN_OR_RETURN(runner_process_,
                        host::RunnerProcess::Spawn({
                            .executable = options.runner_program,
                            .directory = paths_.private_sockets,
                            .allowed_roots = {paths_.workspaces, paths_.gdb_indexes, paths_.store},
                            .first_uid = uids.first,
                            .uid_count = uids.count,
                        }));
  runner_ = std::make_unique<host::RunnerClient>(runner_process_->socket());
  return absl::OkStatus();
}

absl::Status Daemon::Parts::OpenState(const config::Config& config, const Remotes& trusted) {
  const std::vector<state::Migration> migrations = AllMigrations();
  KDBG_ASSIGN_OR_RETURN(database_, state::Database::Open(paths_.database, migrations));
  owner_uids_ = std::make_unique<access::OwnerUids>(*database_, OwnerUidRange(config.server));
  users_ = std::make_unique<access::Users>(access::PolicyFrom(config.access), accounts_, clock_,
                                           ::geteuid());
  KDBG_RETURN_IF_ERROR(access_.Open(config, paths_.authority, *database_, *users_, clock_));
  KDBG_ASSIGN_OR_RETURN(blobs_, store::BlobStore::Open(paths_.store));
  artifacts_ = std::make_unique<store::ArtifactStore>(*database_, *blobs_, clock_);
  KDBG_ASSIGN_OR_RETURN(const host::DiskSpace disk, host::DiskSpaceOf(paths_.store));
  retention_ = std::make_unique<store::Retention>(
      *artifacts_, clock_,
      store::RetentionPolicy{
          .age = config.build.artifact_age,
          .limit_bytes = BytesOrThird(config.build.artifact_limit_mib, disk.total_bytes),
          .grace = config.build.time_limit + absl::Hours(1)});
  KDBG_ASSIGN_OR_RETURN(objects_, source::ObjectDatabase::Open(paths_.git));
  KDBG_ASSIGN_OR_RETURN(
      uploads_,
      source::UploadStore::Open(paths_.uploads, *database_, clock_,
                                {.maximum_size_bytes = config.server.maximum_upload_mib * kMib}));
  source::SourceSettings settings;
  settings.allowed_paths = config.build.allowed_source_paths;
  settings.remotes = {.allowed_urls = config.build.allowed_urls,
                      .ca_file = config.build.ca_file,
                      .ssh_config = config.build.ssh_config};
  for (const build::TrustedRemote& remote : trusted) {
    settings.remotes.allowed_urls.push_back(remote.url);
  }
  settings.mirrors = paths_.mirrors;
  KDBG_ASSIGN_OR_RETURN(
      sources_, source::SourceCatalog::Open(*database_, *objects_, *uploads_, clock_, settings));
  return absl::OkStatus();
}

absl::Status Daemon::Parts::OpenBuilds(const config::Config& config, const Remotes& trusted) {
  KDBG_ASSIGN_OR_RETURN(workspaces_,
                        source::Workspaces::Open(paths_.workspaces, *database_, *objects_, clock_));
  KDBG_ASSIGN_OR_RETURN(const host::DiskSpace disk, host::DiskSpaceOf(paths_.workspaces));
  workspace_budget_ = std::make_unique<source::WorkspaceBudget>(
      *workspaces_, clock_,
      source::WorkspacePolicy{
          .age = config.build.workspace_age,
          .limit_bytes = BytesOrThird(config.build.workspace_limit_mib, disk.total_bytes),
          .grace = config.build.time_limit + absl::Hours(1)});
  KDBG_ASSIGN_OR_RETURN(seeds_,
                        source::SeedStore::Open(paths_.seeds, *database_, *objects_, clock_));
  trusted_ = std::make_unique<source::TrustedSources>(*database_, *objects_, clock_);
  const auto identity = [this](std::string_view owner) { return owner_uids_->For(owner); };
  const build::BuildParts parts{.database = *database_,
                                .artifacts = *artifacts_,
                                .blobs = *blobs_,
                                .sources = *sources_,
                                .objects = *objects_,
                                .workspaces = *workspaces_,
                                .uploads = *uploads_,
                                .seeds = *seeds_,
                                .runner = *runner_,
                                .clock = clock_,
                                .build_identity = identity};
  KDBG_ASSIGN_OR_RETURN(builds_,
                        build::Builds::Open(parts, BuildSettingsFrom(config.build, paths_)));
  old_records_ = std::make_unique<build::OldRecords>(*builds_, *sources_, *artifacts_, clock_);
  KDBG_ASSIGN_OR_RETURN(editors_, build::ConfigEditors::Open(
                                      parts, {.directory = paths_.workspaces / "editors",
                                              .ccache_limit_mib = config.build.ccache_limit_mib}));
  trusted_builds_ = std::make_unique<build::TrustedBuilds>(
      *builds_, *trusted_, *seeds_, *workspaces_,
      build::TrustedBuildSettings{.kernel_configs = config.build.trusted_kernel_configs,
                                  .ccache_limit_mib = config.build.ccache_limit_mib});
  trusted_remotes_ = std::make_unique<build::TrustedRemotes>(
      *sources_, *trusted_builds_, clock_,
      build::TrustedRemotes::Settings{.remotes = trusted,
                                      .period = config.build.trusted_remote_period});
  return absl::OkStatus();
}

absl::Status Daemon::Parts::OpenSessions(const config::Config& config) {
  const std::string uri = config.libvirt.uri.empty()
                              ? fmt::format("qemu:///embed?root={}", paths_.libvirt.string())
                              : config.libvirt.uri;
  KDBG_ASSIGN_OR_RETURN(hypervisor_, vm::LibvirtHypervisor::Open(
                                         {.uri = uri,
                                          .instance = paths_.state.string(),
                                          .apparmor_profile = config.libvirt.apparmor_profile}));
  KDBG_ASSIGN_OR_RETURN(watcher_, guest::IoWatcher::Start());
  io_thread_ = std::make_unique<gdb::IoThread>();
  gateway_ = std::make_unique<gdb::Gateway>(*io_thread_);
  kvm_ = ProbeAsConfigured(config.session.accelerator);
  KDBG_ASSIGN_OR_RETURN(const host::HostMemory memory, host::ReadHostMemory());
  const auto identity = [this](std::string_view owner) { return owner_uids_->For(owner); };
  const auto uid_of = [this](const std::string& user) { return UidForGdb(user); };
  copy_room_ = std::make_unique<session::CopyRoom>(config.build.free_space_floor_mib * kMib);
  const auto on_gdb_visit = [this](const session::GdbVisit& visit) {
    audit_->Write(service::AuditOf(visit));
  };
  KDBG_ASSIGN_OR_RETURN(sessions_,
                        session::Sessions::Open({.database = *database_,
                                                 .artifacts = *artifacts_,
                                                 .blobs = *blobs_,
                                                 .guest_host = {.hypervisor = *hypervisor_,
                                                                .io_thread = *io_thread_,
                                                                .watcher = *watcher_},
                                                 .gateway = *gateway_,
                                                 .clock = clock_,
                                                 .copy_room = *copy_room_,
                                                 .uploads = *uploads_,
                                                 .guests_directory = paths_.guests,
                                                 .kvm_usable = kvm_.usable,
                                                 .kvm_reason = kvm_.reason,
                                                 .guest_identity = identity,
                                                 .templates_directory = paths_.templates,
                                                 .uid_of = uid_of,
                                                 .on_gdb_visit = on_gdb_visit,
                                                 .fd_store = &fd_store_},
                                                LimitsFrom(config.session, memory.total_bytes)));
  return absl::OkStatus();
}

absl::Status Daemon::Parts::OpenMetrics(const config::Metrics& settings) {
  if (settings.listen.empty()) return absl::OkStatus();
  KDBG_ASSIGN_OR_RETURN(metrics_, MetricsFeed::Start({.gate = access_.gate(),
                                                      .builds = *builds_,
                                                      .sessions = *sessions_,
                                                      .artifacts = *artifacts_,
                                                      .uploads = *uploads_,
                                                      .io_thread = *io_thread_,
                                                      .health = health_->health(),
                                                      .clock = clock_,
                                                      .state_directory = paths_.state,
                                                      .version = KDBG_VERSION},
                                                     settings.listen));
  spdlog::info("metrics on port {} of the loopback", metrics_->port());
  return absl::OkStatus();
}

service::ServerFacts Daemon::Parts::Facts(const config::Config& config) const {
  const host::SandboxAbility sandbox = runner_->Probe();
  if (!sandbox.usable) spdlog::warn("builds are refused: {}", sandbox.reason);
  service::ServerFacts facts;
  facts.version = KDBG_VERSION;
  facts.accelerators = {{.name = "kvm", .usable = kvm_.usable, .reason = kvm_.reason},
                        {.name = "tcg", .usable = true, .reason = "always there"}};
  facts.limits = sandbox.limits;
  facts.limits.insert(facts.limits.begin(), {.name = "sandbox",
                                             .holds = sandbox.usable,
                                             .mechanism = "bubblewrap",
                                             .detail = sandbox.reason});
  facts.libvirt_uri = hypervisor_->Uri();
  facts.state_directory = paths_.state;
  facts.build_jobs = config.build.jobs != 0 ? config.build.jobs : Processors();
  facts.parallel_builds = config.build.parallel;
  return facts;
}

absl::Status Daemon::Parts::Serve(const config::Config& config) {
  service::CallGate& gate = access_.gate();
  audited_calls_ = gate.Subscribe([this](const service::CallReport& call) {
    if (const auto record = service::AuditOf(call)) audit_->Write(*record);
  });
  source_service_ = std::make_unique<service::SourceServiceImpl>(
      gate, *sources_, *uploads_, *objects_, *builds_, *trusted_, *trusted_builds_);
  build_service_ = std::make_unique<service::BuildServiceImpl>(gate, *builds_, *sources_, *uploads_,
                                                               *editors_, clock_);
  artifact_service_ = std::make_unique<service::ArtifactServiceImpl>(gate, *artifacts_, *blobs_,
                                                                     *database_, *retention_);
  session_service_ = std::make_unique<service::SessionServiceImpl>(gate, *sessions_, *builds_,
                                                                   *uploads_, *artifacts_, *blobs_);
  server_service_ = std::make_unique<service::ServerServiceImpl>(
      gate, Facts(config), *builds_, *sessions_, health_->health(), clock_);
  service::GrpcServerOptions options;
  options.runtime_directory = paths_.private_sockets;
  options.tls = access_.tls_options();
  for (const auto& socket : paths_.sockets) {
    service::UnixAddress& address = options.addresses.emplace_back();
    address.path = socket;
    if (auto held = fd_store_.Take(socket)) address.inherited_fd = std::move(*held).Release();
  }
  KDBG_ASSIGN_OR_RETURN(server_,
                        service::GrpcServer::Start(
                            options,
                            {source_service_.get(), build_service_.get(), artifact_service_.get(),
                             session_service_.get(), server_service_.get(), access_.user_service()},
                            gate));
  for (const auto& socket : paths_.sockets) spdlog::info("serving on unix:{}", socket.string());
  for (const int port : server_->tls_ports()) spdlog::info("serving by TLS on port {}", port);
  return absl::OkStatus();
}

absl::Status Daemon::Parts::Reload(const config::Config& config) {
  absl::Status reloaded = observe::StartLog(config.server.log_level);
  users_->SetPolicy(access::PolicyFrom(config.access));
  reloaded.Update(access_.Reload(config.access));
  sessions_->RolesChanged();
  return reloaded;
}

void Daemon::Parts::Watch(absl::Duration period, std::function<void()> alive) {
  service::CallGate& gate = access_.gate();
  service::Executor& calls = gate.calls(service::Rpc("ServerService/GetServerInfo"));
  std::vector<Watchdog::Part> parts;
  using Answered = std::function<void()>;
  parts.push_back({"streams", [&gate](Answered answered) { gate.streams().Run(answered); }});
  parts.push_back({"the gdb gateway", [this](Answered answered) { io_thread_->Post(answered); }});
  parts.push_back({"calls and the database", [this, &calls](Answered answered) {
                     calls.Run([this, answered] {
                       const auto nothing = [](const state::Row&) { return absl::OkStatus(); };
                       const absl::Status read = database_->Read([&](auto& transaction) {
                         return transaction.Query("SELECT 1", nothing);
                       });
                       if (!read.ok()) spdlog::error("the database: {}", read.ToString());
                       answered();
                     });
                   }});
  watchdog_ = std::make_unique<Watchdog>(period, std::move(parts), std::move(alive));
}

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Daemon::~Daemon() = default;

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const DaemonOptions& options) {
  auto parts = std::make_unique<Parts>();
  KDBG_RETURN_IF_ERROR(parts->Start(options));
  return std::unique_ptr<Daemon>(new Daemon(std::move(parts)));
}

absl::Status Daemon::Reload(const config::Config& config) { return parts_->Reload(config); }
void Daemon::Watch(absl::Duration period, std::function<void()> alive) {
  parts_->Watch(period, std::move(alive));
}
void Daemon::Stop(absl::Duration grace) { parts_->Stop(grace); }

}  // namespace kdbg::app
