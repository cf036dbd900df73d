#include "server/service/unix_listener.h"

#include <fmt/format.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <map>
#include <thread>
#include <utility>

#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "server/observe/log.h"
#include "server/service/peer_identity.h"
#include "server/service/relay.h"

namespace kdbg::service {
namespace {

using Acceptor = asio::local::stream_protocol::acceptor;
constexpr int kBacklog = 128;

absl::StatusOr<sockaddr_un> AddressOf(const std::filesystem::path& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string& text = path.native();
  if (text.empty() || text.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        fmt::format("'{}' is no address of a unix socket: 1 to {} characters are allowed, use a "
                    "shorter path",
                    text, sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  return address;
}

absl::StatusOr<gid_t> FindGroup(const std::string& name) {
  std::array<char, 65536> buffer;
  struct group entry = {};
  struct group* found = nullptr;
  ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("no group '{}' on this host: name one that exists, or none", name));
  }
  return found->gr_gid;
}

// A file whose last server is gone refuses connections.
absl::Status RefuseIfServed(const sockaddr_un& address) {
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return ErrnoError(errno, "socket");
  const int result =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  if (result == 0 || errno == EAGAIN) {
    return absl::AlreadyExistsError(fmt::format(
        "another server listens on {} already: stop it, or choose another path", address.sun_path));
  }
  return absl::OkStatus();
}

// Bound under another name and renamed when mode and group are right: nobody ever meets a socket
// that is half set up.
absl::StatusOr<UniqueFd> Listen(const UnixAddress& wanted) {
  KDBG_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(wanted.path));
  KDBG_RETURN_IF_ERROR(RefuseIfServed(address));
  const std::string temporary = wanted.path.native() + "~";
  KDBG_ASSIGN_OR_RETURN(const sockaddr_un temporary_address, AddressOf(temporary));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return ErrnoError(errno, "socket");
  ::unlink(temporary.c_str());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&temporary_address),
             sizeof(temporary_address)) != 0) {
    return ErrnoError(errno, fmt::format("bind {}", temporary));
  }
  if (wanted.group) {
    KDBG_ASSIGN_OR_RETURN(const gid_t group, FindGroup(*wanted.group));
    if (::chown(temporary.c_str(), static_cast<uid_t>(-1), group) != 0) {
      return ErrnoError(errno, fmt::format("give {} to group {}", temporary, *wanted.group));
    }
  }
  if (::chmod(temporary.c_str(), static_cast<mode_t>(wanted.mode)) != 0 ||
      ::listen(socket.get(), kBacklog) != 0 ||
      ::rename(temporary.c_str(), wanted.path.c_str()) != 0) {
    return ErrnoError(errno, fmt::format("listen on {}", wanted.path.native()));
  }
  return socket;
}

}  // namespace

class UnixListener::Impl {
 public:
  Impl(const std::filesystem::path& private_socket, const RelayLimits& limits)
      : private_socket_(private_socket),
        limits_(limits),
        next_connection_(FirstConnectionNumber()) {}

  ~Impl() {
    StopAccepting();
    context_.stop();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Open(const std::vector<UnixAddress>& addresses) {
    for (const UnixAddress& address : addresses) {
      UniqueFd socket(address.inherited_fd);
      if (!socket) {
        KDBG_ASSIGN_OR_RETURN(socket, Listen(address));
        files_.push_back(address.path);
      }
      acceptors_.push_back(
          std::make_unique<Acceptor>(context_, asio::local::stream_protocol(), socket.Release()));
    }
    return absl::OkStatus();
  }

  void Run() {
    for (const auto& acceptor : acceptors_) {
      asio::co_spawn(
          context_,
          AcceptAll(context_, *acceptor, [this](LocalSocket caller) { Admit(std::move(caller)); }),
          asio::detached);
    }
    thread_ = std::thread([this] { context_.run(); });
  }

  void StopAccepting() {
    if (stopped_.exchange(true)) return;
    for (const auto& file : files_) ::unlink(file.c_str());
    asio::post(context_, [this] {
      std::error_code ignored;
      for (const auto& acceptor : acceptors_) acceptor->close(ignored);
    });
  }

 private:
  void Admit(LocalSocket caller) {
    ucred credentials = {};
    socklen_t size = sizeof(credentials);
    if (::getsockopt(caller.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
      return;
    }
    int& count = connections_[credentials.uid];
    if (count >= limits_.max_connections_per_uid || total_ >= limits_.max_connections) {
      spdlog::warn("refused a connection of uid {}: {} of its own and {} in all are open",
                   credentials.uid, count, total_);
      if (count == 0) connections_.erase(credentials.uid);
      return;
    }
    ++count;
    ++total_;
    asio::co_spawn(context_, Serve(std::move(caller), credentials.uid),
                   [this, uid = credentials.uid](const std::exception_ptr&) { Left(uid); });
  }

  void Left(uid_t uid) {
    --total_;
    const auto found = connections_.find(uid);
    if (--found->second == 0) connections_.erase(found);
  }

  asio::awaitable<void> Serve(LocalSocket caller, uid_t uid) {
    LocalSocket server(context_);
    const std::error_code error = co_await ConnectPrivately(
        server, RelayName(uid, next_connection_++), private_socket_.native());
    if (error) co_return;
    co_await Relay<LocalSocket>::Run(context_, std::make_shared<LocalSocket>(std::move(caller)),
                                     std::move(server));
  }

  const std::filesystem::path private_socket_;
  const RelayLimits limits_;
  asio::io_context context_{1};
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
  std::vector<std::filesystem::path> files_;
  std::atomic<bool> stopped_ = false;
  // Of the one thread.
  std::uint64_t next_connection_;
  std::map<uid_t, int> connections_;
  int total_ = 0;
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<UnixListener>> UnixListener::Start(
    const std::vector<UnixAddress>& addresses, const std::filesystem::path& private_socket,
    const RelayLimits& limits) {
  auto impl = std::make_unique<Impl>(private_socket, limits);
  KDBG_RETURN_IF_ERROR(impl->Open(addresses));
  impl->Run();
  return std::unique_ptr<UnixListener>(new UnixListener(std::move(impl)));
}

UnixListener::UnixListener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
UnixListener::~UnixListener() = default;
void UnixListener::StopAccepting() { impl_->StopAccepting(); }

}  // namespace kdbg::service
