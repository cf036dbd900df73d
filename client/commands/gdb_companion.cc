#include "client/commands/gdb_companion.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <sstream>
#include <system_error>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/commands/debuginfod.h"
#include "client/commands/source.h"
#include "client/gdb/debuginfod_http.h"
#include "client/gdb/gdb_relay.h"
#include "client/output/text.h"
#include "client/terminal/input_pump.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

// The connection of two threads. One that broke is let go, and goes when both have.
class SharedServer {
 public:
  explicit SharedServer(ServerAddress address) : address_(std::move(address)) {}

  absl::StatusOr<std::shared_ptr<Server>> Get() {
    absl::MutexLock lock(&mutex_);
    if (server_ == nullptr) {
      KDBG_ASSIGN_OR_RETURN(server_, Server::Connect(address_));
    }
    return server_;
  }

  void LetGoIfBroken(const std::shared_ptr<Server>& server, const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    if (absl::IsUnavailable(status) && server_ == server) server_.reset();
  }

 private:
  const ServerAddress address_;
  absl::Mutex mutex_;
  std::shared_ptr<Server> server_ ABSL_GUARDED_BY(mutex_);
};

// The source files of the session's kernel. For the HTTP thread.
class KernelSource {
 public:
  KernelSource(SharedServer& server, std::string session)
      : server_(server), session_(std::move(session)) {}

  absl::StatusOr<std::string> Read(const std::string& build_id, const std::string& path) {
    auto content = ReadOnce(build_id, path);
    // A server cuts a connection that was idle for long.
    return absl::IsUnavailable(content.status()) ? ReadOnce(build_id, path) : content;
  }

 private:
  absl::StatusOr<std::string> ReadOnce(const std::string& build_id, const std::string& path) {
    KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<Server> server, server_.Get());
    const absl::Status found = Find(*server);
    server_.LetGoIfBroken(server, found);
    KDBG_RETURN_IF_ERROR(found);
    if (build_id != build_id_ || source_.empty()) return absl::NotFoundError("another program");
    auto content = ReadSourceFile(*server, source_, path);
    server_.LetGoIfBroken(server, content.status());
    return content;
  }

  absl::Status Find(Server& server) {
    if (!build_id_.empty()) return absl::OkStatus();
    v1::GetSessionRequest get_session;
    get_session.set_name(session_);
    KDBG_ASSIGN_OR_RETURN(
        const v1::Session session,
        server.Call<v1::SessionService>(&v1::SessionService::Stub::GetSession, get_session));
    v1::GetArtifactRequest get_kernel;
    get_kernel.set_name(session.kernel_artifact());
    KDBG_ASSIGN_OR_RETURN(
        const v1::Artifact kernel,
        server.Call<v1::ArtifactService>(&v1::ArtifactService::Stub::GetArtifact, get_kernel));
    // The kernel may be one that answered the build from another source of the same tree, which
    // need not be the caller's to read.
    v1::GetBuildRequest get_build;
    get_build.set_name(session.kernel());
    const auto build = server.Call<v1::BuildService>(&v1::BuildService::Stub::GetBuild, get_build);
    source_ = build.ok() && !build->source().empty() ? build->source() : kernel.source();
    build_id_ = kernel.build_id();
    return absl::OkStatus();
  }

  SharedServer& server_;
  const std::string session_;
  std::string build_id_;
  std::string source_;
};

// Where gdb connects to, in a directory of the user's own; gone with the object.
class GdbSocket {
 public:
  static absl::StatusOr<GdbSocket> Listen(const std::string& session) {
    KDBG_ASSIGN_OR_RETURN(const std::filesystem::path cache,
                          UserCacheDirectory(PathEnvironment::Current()));
    GdbSocket socket;
    socket.path_ = cache / "sockets" / fmt::format("gdb-{}-{}", ShortName(session), ::getpid());
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    // gdb takes what has a colon for a host and a port.
    const std::string& path = socket.path_.native();
    if (path.size() >= sizeof address.sun_path || path.find(':') != path.npos) {
      socket.path_.clear();
      return socket;
    }
    path.copy(address.sun_path, path.size());
    KDBG_RETURN_IF_ERROR(MakeDirectories(socket.path_.parent_path(), 0700));
    ::unlink(path.c_str());  // of a process that had this number before
    socket.fd_.Reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::bind(socket.fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(socket.fd_.get(), 1) != 0) {
      return ErrnoError(errno, "listen on " + path);
    }
    return socket;
  }
  GdbSocket(GdbSocket&&) = default;
  ~GdbSocket() {
    if (fd_) ::unlink(path_.c_str());
  }

  const std::filesystem::path& path() const { return path_; }

  // One gdb after another until `stop`, each refusal told on stderr.
  void Serve(SharedServer& shared, const GdbCompanionOptions& options, const StopSignal& stop) {
    while (fd_) {
      pollfd waiting[] = {{.fd = stop.fd(), .events = POLLIN, .revents = 0},
                          {.fd = fd_.get(), .events = POLLIN, .revents = 0}};
      if (::poll(waiting, 2, -1) < 0) continue;
      if (waiting[0].revents != 0) return;
      const UniqueFd gdb(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!gdb) continue;
      const auto server = shared.Get();
      absl::Status status = server.status();
      if (server.ok()) {
        status = RelayGdb(**server, options.session, options.take_over, gdb.get(), gdb.get(), stop);
        shared.LetGoIfBroken(*server, status);
      }
      if (!status.ok()) (void)WriteAll(STDERR_FILENO, ErrorReport(status));
    }
  }

 private:
  GdbSocket() = default;
  std::filesystem::path path_;
  UniqueFd fd_;
};

absl::StatusOr<std::string> ReadLine(int fd) {
  std::string line;
  char c = 0;
  for (;;) {
    const ssize_t n = ::read(fd, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return absl::InternalError("what stands beside gdb did not start");
    if (c == '\n') return line;
    line += c;
  }
}

}  // namespace

CommandEnd AccompanyGdb(Context& context, const GdbCompanionOptions& options) {
  KDBG_ASSIGN_OR_RETURN(const ServerAddress address, context.Address());
  SharedServer server(address);
  KernelSource source(server, options.session);
  const std::string token = NewUrlToken();
  KDBG_ASSIGN_OR_RETURN(
      const std::unique_ptr<DebuginfodHttp> http,
      DebuginfodHttp::Start(
          token, 0,
          {.source = [&](const std::string& id,
                         const std::string& path) { return source.Read(id, path); },
           .symbols = [](const std::string&) -> absl::StatusOr<std::filesystem::path> {
             return absl::NotFoundError("gdb has them");
           }}));
  KDBG_ASSIGN_OR_RETURN(GdbSocket socket, GdbSocket::Listen(options.session));
  Output::Write(fmt::format("{} {} {}\n", http->port(), token, socket.path().string()));
  // gdb comes later than this. Why it may not come to anything is told when it is tried again.
  if (const auto early = server.Get(); early.ok()) (*early)->ConnectAhead();
  StopSignal stop;
  std::thread relay([&] { socket.Serve(server, options, stop); });
  PumpInput(STDIN_FILENO, StopSignal(), [](std::string_view) { return true; });
  stop.Set();
  relay.join();
  return kExitDone;
}

absl::StatusOr<GdbCompanion> GdbCompanion::Start(const ServerAddress& server,
                                                 const GdbCompanionOptions& options) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  UniqueFd answer(ends[0]);
  const UniqueFd output(ends[1]);
  std::vector<std::string> arguments = {"gdb-companion", options.session};
  if (options.take_over) arguments.emplace_back("--take-over");
  KDBG_ASSIGN_OR_RETURN(Companion process, Companion::Start(server, arguments, output.get()));
  return GdbCompanion(std::move(process), std::move(answer));
}

absl::StatusOr<GdbCompanion::Doors> GdbCompanion::Await() {
  KDBG_ASSIGN_OR_RETURN(const std::string line, ReadLine(answer_.get()));
  answer_.Reset();
  std::istringstream words(line);
  std::string port;
  std::string token;
  std::string socket;
  words >> port >> token >> std::ws;
  std::getline(words, socket);
  return Doors{.debuginfod_url = fmt::format("http://127.0.0.1:{}/{}", port, token),
               .gdb_socket = socket};
}

}  // namespace kdbg::client
