#include "server/vm/state_transfer.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::vm {
namespace {

constexpr std::size_t kChunk = std::size_t{256} << 10;

absl::StatusOr<sockaddr_un> AddressOf(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof(address.sun_path)) {
    return InvalidField("state_dir", path.string(),
                        "the path is too long for sockets in it; choose a shorter state directory");
  }
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  return address;
}

// Until `fd` is ready for `events` or closed.
absl::Status Await(int fd, short events, absl::Duration patience, int cancelled = -1) {
  std::array<pollfd, 2> polled = {pollfd{.fd = fd, .events = events, .revents = 0},
                                  pollfd{.fd = cancelled, .events = POLLIN, .revents = 0}};
  const absl::Time deadline = absl::Now() + patience;
  for (;;) {
    const auto left = absl::ToInt64Milliseconds(deadline - absl::Now());
    if (left < 0) return absl::DeadlineExceededError("the emulator does not go on with the state");
    const int ready = ::poll(polled.data(), polled.size(), static_cast<int>(left) + 1);
    if (ready < 0 && errno != EINTR) return ErrnoError(errno, "wait for the emulator");
    if (ready > 0 && polled[1].revents != 0) return absl::CancelledError("the save was given up");
    if (ready > 0 && polled[0].revents != 0) return absl::OkStatus();
  }
}

absl::Status SendAll(int peer, std::string_view bytes, absl::Duration patience) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(peer, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      KDBG_RETURN_IF_ERROR(Await(peer, POLLOUT, patience));
    } else if (errno != EINTR) {
      return absl::AbortedError("the emulator went away before it had the whole state");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StateListener> StateListener::Listen(const StateChannel& channel) {
  KDBG_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(channel.socket));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return ErrnoError(errno, "make a socket");
  ::unlink(channel.socket.c_str());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoError(errno, fmt::format("bind {}", channel.socket.string()));
  }
  StateListener listener(std::move(socket), channel.socket);
  // Nobody can have connected before it listens.
  if (::chmod(channel.socket.c_str(), 0600) != 0 ||
      (channel.run_as &&
       ::chown(channel.socket.c_str(), channel.run_as->uid, channel.run_as->gid) != 0) ||
      ::listen(listener.socket_.get(), 1) != 0) {
    return ErrnoError(errno, fmt::format("listen on {}", channel.socket.string()));
  }
  return listener;
}

StateListener::StateListener(UniqueFd socket, std::filesystem::path path)
    : socket_(std::move(socket)), path_(std::move(path)) {}

StateListener::~StateListener() {
  if (socket_) ::unlink(path_.c_str());
}

absl::Status StateListener::Receive(int file, std::int64_t max_bytes, absl::Duration patience,
                                    std::stop_token cancel) const {
  const UniqueFd cancelled(::eventfd(0, EFD_CLOEXEC));
  const std::stop_callback wake(std::move(cancel), [&] { ::eventfd_write(cancelled.get(), 1); });
  KDBG_RETURN_IF_ERROR(Await(socket_.get(), POLLIN, patience, cancelled.get()));
  const UniqueFd peer(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!peer) return ErrnoError(errno, "accept the emulator's connection");
  std::string buffer(kChunk, '\0');
  std::int64_t received = 0;
  for (;;) {
    KDBG_RETURN_IF_ERROR(Await(peer.get(), POLLIN, patience, cancelled.get()));
    const ssize_t got = ::recv(peer.get(), buffer.data(), buffer.size(), 0);
    if (got == 0) return absl::OkStatus();
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, "receive a machine's state");
    received += got;
    if (received > max_bytes) {
      return absl::ResourceExhaustedError(
          fmt::format("the state is larger than {} bytes", max_bytes));
    }
    KDBG_RETURN_IF_ERROR(
        WriteAll(file, std::string_view(buffer.data(), static_cast<std::size_t>(got))));
  }
}

absl::Status SendState(const std::filesystem::path& socket, int file, absl::Duration patience) {
  KDBG_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(socket));
  const UniqueFd peer(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!peer ||
      ::connect(peer.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return absl::UnavailableError(
        fmt::format("the emulator does not listen for a state: {}", strerror(errno)));
  }
  std::string buffer(kChunk, '\0');
  for (off_t offset = 0;;) {
    const ssize_t got = ::pread(file, buffer.data(), buffer.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, "read a machine's state");
    if (got == 0) break;
    offset += got;
    KDBG_RETURN_IF_ERROR(SendAll(
        peer.get(), std::string_view(buffer.data(), static_cast<std::size_t>(got)), patience));
  }
  ::shutdown(peer.get(), SHUT_WR);
  for (std::array<char, 256> said;;) {
    KDBG_RETURN_IF_ERROR(Await(peer.get(), POLLIN, patience));
    const ssize_t got = ::recv(peer.get(), said.data(), said.size(), 0);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) return absl::OkStatus();
    if (got < 0 && errno != EINTR && errno != EAGAIN) {
      return ErrnoError(errno, "wait for the emulator to take a state");
    }
  }
}

}  // namespace kdbg::vm
