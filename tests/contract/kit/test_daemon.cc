#include "tests/contract/kit/test_daemon.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

#include "proto/contract/status_codec.h"
#include "proto/support/file.h"
#include "proto/support/sha256.h"
#include "proto/support/subprocess.h"
#include "server/base/ids.h"
#include "server/build/build_table.h"
#include "server/service/call_audit.h"
#include "server/service/peer_identity.h"
#include "server/session/session_table.h"
#include "tests/support/http_get.h"

namespace kdbg {
namespace {

void Need(const absl::Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
  std::abort();
}

template <typename T>
T Need(absl::StatusOr<T> value, const char* what) {
  Need(value.status(), what);
  return *std::move(value);
}

std::unique_ptr<state::Database> OpenDatabase(const std::filesystem::path& path) {
  std::vector<state::Migration> migrations;
  for (const auto& part :
       {access::EnrolledUsers::Migrations(), store::ArtifactStore::Migrations(),
        source::UploadStore::Migrations(), source::SourceCatalog::Migrations(),
        source::Workspaces::Migrations(), source::SeedStore::Migrations(),
        build::Builds::Migrations(), session::SessionMigrations(), access::Grants::Migrations()}) {
    migrations.insert(migrations.end(), part.begin(), part.end());
  }
  return Need(state::Database::Open(path, migrations), "database");
}

UniqueFd ListenOn(const std::filesystem::path& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof(address.sun_path), "%s", path.c_str());
  ::unlink(path.c_str());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(fd.get(), 4) != 0) {
    std::perror("console socket");
    std::abort();
  }
  return fd;
}

std::optional<host::Identity> OwnIdentity(std::string_view) { return std::nullopt; }

}  // namespace

Client::Client(std::shared_ptr<grpc::Channel> to)
    : channel(std::move(to)),
      sources(v1::SourceService::NewStub(channel)),
      builds(v1::BuildService::NewStub(channel)),
      artifacts(v1::ArtifactService::NewStub(channel)),
      sessions(v1::SessionService::NewStub(channel)),
      server(v1::ServerService::NewStub(channel)) {}

TestDaemon::TestDaemon(service::GateLimits gate)
    : users_(TestAccounts::Policy(), accounts_, clock_, ::getuid()) {
  const std::filesystem::path& root = directory_.path();
  std::filesystem::create_directories(allowed_path());
  database_ = OpenDatabase(root / "state.db");
  grants_ = Need(access::Grants::Open(*database_), "grants");
  blobs_ = Need(store::BlobStore::Open(root / "blobs"), "blobs");
  artifacts_ = std::make_unique<store::ArtifactStore>(*database_, *blobs_, clock_);
  uploads_ = Need(source::UploadStore::Open(root / "uploads", *database_, clock_, {}), "uploads");
  objects_ = Need(source::ObjectDatabase::Open(root / "objects"), "objects");
  source::SourceSettings source_settings;
  source_settings.allowed_paths = {allowed_path()};
  sources_ =
      Need(source::SourceCatalog::Open(*database_, *objects_, *uploads_, clock_, source_settings),
           "sources");
  workspaces_ = Need(source::Workspaces::Open(root / "workspaces", *database_, *objects_, clock_),
                     "workspaces");
  seeds_ = Need(source::SeedStore::Open(root / "seeds", *database_, *objects_, clock_), "seeds");
  trusted_ = std::make_unique<source::TrustedSources>(*database_, *objects_, clock_);
  build::BuildSettings build_settings;
  build_settings.logs_directory = root / "logs";
  build_settings.index_directory = root / "gdb-index";
  const build::BuildParts parts{*database_, *artifacts_,  *blobs_,    *sources_,
                                *objects_,  *workspaces_, *uploads_,  *seeds_,
                                runner_,    clock_,       OwnIdentity};
  builds_ = Need(build::Builds::Open(parts, build_settings), "builds");
  build::ConfigEditorSettings editor_settings;
  editor_settings.directory = root / "workspaces/editors";
  editors_ = Need(build::ConfigEditors::Open(parts, editor_settings), "editors");
  trusted_builds_ = std::make_unique<build::TrustedBuilds>(
      *builds_, *trusted_, *seeds_, *workspaces_, build::TrustedBuildSettings{});

  hypervisor_.on_create = [this](const vm::DomainSpec& spec) { return OnCreate(spec); };
  watcher_ = Need(guest::IoWatcher::Start(), "watcher");
  session_parts_ = std::make_unique<session::Sessions::Parts>(session::Sessions::Parts{
      *database_, *artifacts_, *blobs_, guest::GuestHost{hypervisor_, io_thread_, *watcher_},
      gateway_, clock_, copy_room_, *uploads_, root / "guests", false, "not in tests", OwnIdentity,
      root / "templates", [](const std::string&) { return std::optional<uid_t>(); },
      [this](const session::GdbVisit& visit) { audit_.Write(service::AuditOf(visit)); }});
  session::SessionLimits session_limits;
  session_limits.first_port = 24000;
  session_limits.last_port = 24999;
  sessions_ = Need(session::Sessions::Open(*session_parts_, session_limits), "sessions");

  access::EnrolledUsers::Settings access_settings;
  access_settings.kind = access::ClientAuthority::kOther;
  enrolled_ =
      Need(access::EnrolledUsers::Open(*database_, clock_, std::move(access_settings)), "users");
  gate_ = std::make_unique<service::CallGate>(
      users_, *grants_, clock_, gate,
      service::TlsCallers{.connections = connections_, .users = *enrolled_});
  audited_calls_ = gate_->Subscribe([this](const service::CallReport& call) {
    if (const auto record = service::AuditOf(call)) audit_.Write(*record);
  });
  retention_ = std::make_unique<store::Retention>(*artifacts_, clock_, store::RetentionPolicy{});
  services_.push_back(std::make_unique<service::SourceServiceImpl>(
      *gate_, *sources_, *uploads_, *objects_, *builds_, *trusted_, *trusted_builds_));
  services_.push_back(std::make_unique<service::BuildServiceImpl>(*gate_, *builds_, *sources_,
                                                                  *uploads_, *editors_, clock_));
  services_.push_back(std::make_unique<service::ArtifactServiceImpl>(*gate_, *artifacts_, *blobs_,
                                                                     *database_, *retention_));
  services_.push_back(std::make_unique<service::SessionServiceImpl>(
      *gate_, *sessions_, *builds_, *uploads_, *artifacts_, *blobs_));
  service::ServerFacts facts;
  facts.version = "0.1.0";
  facts.accelerators = {{"kvm", false, "not in tests"}, {"tcg", true, ""}};
  facts.limits = runner_.Probe().limits;
  facts.libvirt_uri = hypervisor_.Uri();
  facts.state_directory = root;
  services_.push_back(std::make_unique<service::ServerServiceImpl>(
      *gate_, std::move(facts), *builds_, *sessions_, health_, clock_));
  services_.push_back(std::make_unique<service::UserServiceImpl>(service::UserServiceImpl::Parts{
      .gate = *gate_, .enrolled = *enrolled_, .accounts = users_, .clock = clock_, .address = ""}));
  service::GrpcServerOptions options;
  options.addresses.emplace_back().path = socket();
  options.runtime_directory = root;
  std::vector<grpc::Service*> services;
  for (const auto& service : services_) services.push_back(service.get());
  server_ = Need(service::GrpcServer::Start(options, services, *gate_), "server");
}

Client TestDaemon::AsEnrolled(const std::string& user) {
  static std::atomic<std::uint64_t> next = static_cast<std::uint64_t>(::getpid()) << 32;
  const std::uint64_t number = next++;
  connections_.Enter(
      number,
      {.address = "192.0.2.1",
       .from = "192.0.2.1:1",
       .claim = access::CertificateClaim{
           .common_name = user, .serial = "01", .expire_time = absl::Now() + absl::Hours(1)}});
  return Client(ConnectFrom(service::TlsRelayName(number), directory_.path()));
}

std::string TestDaemon::Scrape() {
  if (metrics_ == nullptr) {
    metrics_ = Need(app::MetricsFeed::Start({.gate = *gate_,
                                             .builds = *builds_,
                                             .sessions = *sessions_,
                                             .artifacts = *artifacts_,
                                             .uploads = *uploads_,
                                             .io_thread = io_thread_,
                                             .health = health_,
                                             .clock = clock_,
                                             .state_directory = directory_.path(),
                                             .version = "0.1.0"},
                                            "127.0.0.1:0"),
                    "metrics");
  }
  return HttpGet(metrics_->port(), "/metrics");
}

void TestDaemon::CloseEditors() {
  server_.reset();
  services_.clear();
  gate_.reset();
  editors_.reset();
}

TestDaemon::~TestDaemon() {
  CloseEditors();
  sessions_.reset();
  builds_.reset();
}

absl::Status TestDaemon::OnCreate(const vm::DomainSpec& spec) {
  Machine machine;
  machine.spec = spec;
  machine.stub = std::make_unique<FakeStub>(spec.gdb_socket.native());
  std::ofstream(spec.console_log).close();
  machine.console = ListenOn(spec.console_socket);
  absl::MutexLock lock(&mutex_);
  machines_.insert_or_assign(spec.name.substr(vm::kDomainPrefix.size()), std::move(machine));
  return absl::OkStatus();
}

SeededBuild TestDaemon::Seed(store::Artifact artifact, build::BuildRequest request) {
  build::BuildRecord record;
  record.id = NewId("b");
  record.owner = artifact.owner;
  record.request = std::move(request);
  record.state = build::BuildState::kSucceeded;
  record.create_time = clock_.Now();
  artifact.build_id = record.id;
  Need(database_->Write([&](state::Transaction& transaction) -> absl::Status {
    auto published = artifacts_->Publish(transaction, artifact);
    if (!published.ok()) return published.status();
    record.artifact_id = published->id;
    return absl::OkStatus();
  }),
       "seed artifact");
  Need(build::BuildTable(*database_).Insert(record), "seed build");
  return {record.id, record.artifact_id};
}

SeededBuild TestDaemon::SeedKernel(const std::string& owner, bool is_private,
                                   const std::string& vmlinux) {
  store::Artifact artifact;
  artifact.kind = store::ArtifactKind::kKernel;
  artifact.owner = owner;
  artifact.is_private = is_private;
  artifact.architecture = TraitsOf(HostArchitecture()).name;
  artifact.gnu_build_id = "00112233445566778899aabbccddeeff00112233";
  const std::string image(TraitsOf(HostArchitecture()).image_target);
  for (const auto& [path, bytes] :
       std::map<std::string, std::string>{{"System.map", "ffffffff81000000 T start_kernel\n"},
                                          {image, "an image of " + owner},
                                          {"vmlinux", vmlinux}}) {
    const store::Blob blob = Need(blobs_->PutBytes(bytes), "seed blob");
    artifact.files.push_back({path, blob.digest, blob.size_bytes});
  }
  build::BuildRequest request;
  request.display_name = "kernel";
  request.source_id = "s-seeded";
  request.is_private = is_private;
  request.spec = build::KernelRequest{};
  return Seed(std::move(artifact), std::move(request));
}

SeededBuild TestDaemon::SeedInitramfs(const std::string& owner, Architecture architecture) {
  store::Artifact artifact;
  artifact.kind = store::ArtifactKind::kInitramfs;
  artifact.owner = owner;
  artifact.architecture = TraitsOf(architecture).name;
  artifact.attributes["announces"] = "1";
  const store::Blob blob = Need(blobs_->PutBytes("a cpio"), "seed blob");
  artifact.files.push_back({"initramfs.cpio", blob.digest, blob.size_bytes});
  build::BuildRequest request;
  request.display_name = "initramfs";
  request.source_id = "s-seeded";
  build::InitramfsRequest initramfs;
  initramfs.architecture = architecture;
  request.spec = std::move(initramfs);
  return Seed(std::move(artifact), std::move(request));
}

std::string TestDaemon::Tar(const std::map<std::string, std::string>& files) {
  TestDirectory directory;
  for (const auto& [name, content] : files) {
    const std::filesystem::path path = directory.path() / "tree" / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << content;
  }
  const std::filesystem::path out = directory.path() / "out.tar";
  Subprocess::Options command;
  command.argv = {"tar", "-C", directory.path().native(), "-cf", out.native(), "tree"};
  Need(RunCommand(command).status(), "tar");
  return Need(ReadFile(out), "tar");
}

std::string TestDaemon::Import(Client& client, const std::map<std::string, std::string>& files) {
  const std::string tar = Tar(files);
  v1::CreateUploadRequest announce;
  announce.set_sha256(Sha256Hex(tar));
  announce.set_size_bytes(static_cast<std::int64_t>(tar.size()));
  v1::Upload upload;
  grpc::ClientContext announce_context;
  Need(FromGrpcStatus(client.sources->CreateUpload(&announce_context, announce, &upload)),
       "announce");
  {
    grpc::ClientContext context;
    const auto writer = client.sources->WriteUpload(&context, &upload);
    v1::WriteUploadRequest chunk;
    chunk.set_name(upload.name());
    chunk.set_data(tar);
    writer->Write(chunk);
    writer->WritesDone();
    Need(FromGrpcStatus(writer->Finish()), "upload");
  }
  v1::CreateSourceRequest create;
  create.mutable_source()->mutable_tarball()->set_upload(upload.name());
  create.mutable_source()->mutable_tarball()->set_sha256(announce.sha256());
  v1::Source source;
  grpc::ClientContext create_context;
  Need(FromGrpcStatus(client.sources->CreateSource(&create_context, create, &source)), "source");
  v1::GetSourceRequest watch;
  watch.set_name(source.name());
  grpc::ClientContext watch_context;
  const auto states = client.sources->WatchSource(&watch_context, watch);
  while (states->Read(&source)) {
  }
  Need(FromGrpcStatus(states->Finish()), "watch");
  if (source.state() != v1::Source::READY)
    Need(absl::InternalError(source.DebugString()), "import");
  return source.name();
}

void TestDaemon::Print(const std::string& session_id, const std::string& text) {
  absl::MutexLock lock(&mutex_);
  std::ofstream(machines_.at(session_id).spec.console_log, std::ios::app) << text;
}

std::string TestDaemon::Typed(const std::string& session_id, std::size_t bytes) {
  absl::MutexLock lock(&mutex_);
  Machine& machine = machines_.at(session_id);
  if (!machine.console_client) {
    machine.console_client = UniqueFd(::accept(machine.console.get(), nullptr, nullptr));
  }
  std::string typed(bytes, '\0');
  const ssize_t count = ::recv(machine.console_client.get(), typed.data(), bytes, MSG_WAITALL);
  typed.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return typed;
}

}  // namespace kdbg
