#include "server/guest/console_input.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"

namespace kdbg::guest {

absl::StatusOr<std::shared_ptr<ConsoleInput>> ConsoleInput::Connect(
    const std::filesystem::path& socket, IoWatcher& watcher) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.native().size() >= sizeof(address.sun_path)) {
    return InvalidField("directory", socket.string(), "the path of the console socket is too long");
  }
  std::memcpy(address.sun_path, socket.c_str(), socket.native().size());
  UniqueFd connected(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!connected ||
      ::connect(connected.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                     fmt::format("the guest's console cannot be reached: {}", strerror(errno)));
  }
  std::shared_ptr<ConsoleInput> input(new ConsoleInput(std::move(connected)));
  absl::MutexLock lock(&input->watch_mutex_);
  KDBG_ASSIGN_OR_RETURN(
      input->watch_,
      watcher.WatchReadable(input->socket_.get(), [raw = input.get()] { raw->Drain(); }));
  return input;
}

ConsoleInput::~ConsoleInput() {
  Subscription watch;
  // Drain may be ending the watch itself.
  absl::MutexLock lock(&watch_mutex_);
  watch = std::move(watch_);
}

absl::Status ConsoleInput::Write(std::string_view bytes) {
  absl::MutexLock lock(&write_mutex_);
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      return MakeError(absl::StatusCode::kResourceExhausted, Reason::kWrongState,
                       "the guest does not read its console; let it run, then type again", {},
                       absl::Seconds(1));
    } else if (errno != EINTR) {
      return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                       "the guest's console is closed: the guest is gone");
    }
  }
  return absl::OkStatus();
}

void ConsoleInput::Drain() {
  std::array<char, 16384> dropped;
  const ssize_t got = ::recv(socket_.get(), dropped.data(), dropped.size(), 0);
  // At the end the descriptor would stay readable for ever.
  if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) return;
  absl::MutexLock lock(&watch_mutex_);
  watch_.Reset();
}

}  // namespace kdbg::guest
