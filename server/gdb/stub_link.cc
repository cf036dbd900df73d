#include "server/gdb/stub_link.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "proto/rsp/hex.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "server/gdb/io_thread.h"
#include "server/gdb/stub_channel.h"

namespace kdbg::gdb {
namespace {

constexpr std::size_t kMaximumRead = 2000;  // QEMU's `m` gives at most 2 KiB

// A result on its way from the I/O thread; shared, because a caller that gave up waiting leaves
// first.
template <typename T>
struct Pending {
  absl::Notification done;
  T result;

  void Set(T value) {
    result = std::move(value);
    done.Notify();
  }
};

template <typename T, typename Start>
T Await(IoThread& io_thread, absl::Duration timeout, Start start) {
  if (io_thread.IsCurrent()) return absl::InternalError("a blocking stub call on the I/O thread");
  auto pending = std::make_shared<Pending<T>>();
  asio::post(io_thread.context(), [start = std::move(start), pending] { start(pending); });
  if (!pending->done.WaitForNotificationWithTimeout(timeout)) {
    return absl::DeadlineExceededError("the guest's gdb stub did not answer in time");
  }
  return std::move(pending->result);
}

absl::StatusOr<UniqueFd> ConnectSocket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return InvalidField("gdb_socket", path, "the path of the gdb socket is too long for a socket");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoError(errno, "make a socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return MakeError(
        absl::StatusCode::kUnavailable, Reason::kVmLost,
        fmt::format("cannot reach the guest's gdb stub at {}: {}", path, std::strerror(errno)));
  }
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StubLink>> StubLink::Connect(IoThread& io_thread,
                                                            const std::string& socket_path,
                                                            CpuState state,
                                                            absl::Duration timeout) {
  KDBG_ASSIGN_OR_RETURN(UniqueFd fd, ConnectSocket(socket_path));
  auto channel = std::make_shared<StubChannel>(io_thread, std::move(fd));
  std::unique_ptr<StubLink> link(new StubLink(io_thread, channel));
  const absl::Status ready = Await<absl::Status>(io_thread, timeout, [channel](auto pending) {
    channel->Handshake([pending](absl::Status status) { pending->Set(std::move(status)); });
  });
  KDBG_RETURN_IF_ERROR(ready);
  if (state == CpuState::kRunning) KDBG_RETURN_IF_ERROR(link->Continue());
  return link;
}

StubLink::StubLink(IoThread& io_thread, std::shared_ptr<StubChannel> channel)
    : io_thread_(io_thread), channel_(std::move(channel)) {}

StubLink::~StubLink() {
  io_thread_.RunAndWait([this] { channel_->Close(); });
}

absl::StatusOr<std::string> StubLink::Request(std::string packet, absl::Duration timeout) {
  return Await<absl::StatusOr<std::string>>(
      io_thread_, timeout, [channel = channel_, packet = std::move(packet)](auto pending) {
        channel->Exchange(packet, [pending](absl::StatusOr<std::string> reply) {
          pending->Set(std::move(reply));
        });
      });
}

absl::Status StubLink::Expect(std::string packet, std::string_view what) {
  KDBG_ASSIGN_OR_RETURN(const std::string reply, Request(std::move(packet)));
  if (reply == "OK") return absl::OkStatus();
  return absl::InternalError(fmt::format("the gdb stub cannot {}: it says '{}'", what, reply));
}

absl::Status StubLink::InsertBreakpoint(BreakpointKind kind, std::uint64_t address) {
  return Expect(fmt::format("Z{},{:x},1", static_cast<int>(kind), address), "set a breakpoint");
}

absl::Status StubLink::RemoveBreakpoint(BreakpointKind kind, std::uint64_t address) {
  return Expect(fmt::format("z{},{:x},1", static_cast<int>(kind), address), "remove a breakpoint");
}

absl::StatusOr<std::string> StubLink::ReadMemory(std::uint64_t address, std::size_t size) {
  std::string memory;
  while (memory.size() < size) {
    const std::size_t part = std::min(size - memory.size(), kMaximumRead);
    KDBG_ASSIGN_OR_RETURN(const std::string reply,
                          Request(fmt::format("m{:x},{:x}", address + memory.size(), part)));
    const std::optional<std::string> bytes = rsp::HexDecode(reply);
    if (!bytes || bytes->size() != part) {
      return absl::InternalError(
          fmt::format("the gdb stub cannot read {} bytes at {:#x}: it says '{}'", part,
                      address + memory.size(), reply));
    }
    memory += *bytes;
  }
  return memory;
}

absl::StatusOr<std::uint64_t> StubLink::ReadRegister(int number) {
  KDBG_ASSIGN_OR_RETURN(const std::string reply, Request(fmt::format("p{:x}", number)));
  const std::optional<std::uint64_t> value = rsp::ParseRegister(reply);
  if (!value) {
    return absl::InternalError(
        fmt::format("the gdb stub cannot read register {}: it says '{}'", number, reply));
  }
  return *value;
}

absl::Status StubLink::Continue() {
  if (const auto client = channel_->client()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHolderBusy,
                     fmt::format("{} has gdb attached and decides when the guest runs", *client),
                     {{"holder", *client}});
  }
  if (running()) return absl::OkStatus();
  return Await<absl::Status>(io_thread_, absl::Seconds(10), [channel = channel_](auto pending) {
    channel->Resume(
        "c", [pending](absl::Status status) { pending->Set(std::move(status)); },
        [](absl::StatusOr<std::string>) {});
  });
}

absl::StatusOr<StopReply> StubLink::Interrupt(absl::Duration timeout) {
  return Await<absl::StatusOr<StopReply>>(io_thread_, timeout, [channel = channel_](auto pending) {
    channel->Halt([pending](absl::StatusOr<StopReply> stop) { pending->Set(std::move(stop)); });
  });
}

absl::StatusOr<StopReply> StubLink::WaitStop(absl::Duration timeout, std::stop_token cancel) {
  return channel_->WaitStop(absl::Now() + timeout, std::move(cancel));
}

bool StubLink::running() const { return channel_->running(); }
bool StubLink::lost() const { return channel_->lost(); }

Subscription StubLink::OnStop(std::function<void(const StopReply&)> listener) {
  return channel_->on_stop().Add(std::move(listener));
}
Subscription StubLink::OnLost(std::function<void()> listener) {
  return channel_->on_lost().Add(std::move(listener));
}

}  // namespace kdbg::gdb
