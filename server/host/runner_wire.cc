#include "server/host/runner_wire.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "proto/support/errno_status.h"

namespace kdbg::host::wire {
namespace {

constexpr std::size_t kMostDescriptors = 8;

using Control = char[CMSG_SPACE(kMostDescriptors * sizeof(int))];

void TakeDescriptors(msghdr& header, std::vector<UniqueFd>& into) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      into.emplace_back(fd);
    }
  }
}

}  // namespace

absl::Status Send(int socket, const google::protobuf::MessageLite& message,
                  std::initializer_list<int> descriptors) {
  std::string bytes = message.SerializeAsString();
  if (bytes.size() > kMessageLimit || descriptors.size() > kMostDescriptors) {
    return absl::InvalidArgumentError(fmt::format("a request of {} bytes to the runner; at most {}",
                                                  bytes.size(), kMessageLimit));
  }
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) Control control{};
  if (descriptors.size() > 0) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(rights), descriptors.begin(), descriptors.size() * sizeof(int));
  }
  while (::sendmsg(socket, &header, MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) return ErrnoError(errno, "send to the runner's socket");
  }
  return absl::OkStatus();
}

absl::Status Receive(int socket, google::protobuf::MessageLite& message,
                     std::vector<UniqueFd>* descriptors) {
  std::string bytes(kMessageLimit, '\0');
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) Control control{};
  msghdr header{};
  ssize_t n = -1;
  do {
    header = {};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    n = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoError(errno, "read from the runner's socket");
  std::vector<UniqueFd> received;
  TakeDescriptors(header, received);
  if (n == 0) return absl::AbortedError("the other end of the runner's socket has closed");
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(n))) {
    return absl::InvalidArgumentError("a message on the runner's socket that is not one of ours");
  }
  if (descriptors != nullptr) {
    std::move(received.begin(), received.end(), std::back_inserter(*descriptors));
  }
  return absl::OkStatus();
}

Sandbox ToWire(const host::Sandbox& sandbox) {
  Sandbox message;
  message.set_label(sandbox.label);
  if (sandbox.run_as) {
    message.set_uid(sandbox.run_as->uid);
    message.set_gid(sandbox.run_as->gid);
  }
  for (const host::Bind& bind : sandbox.binds) {
    Bind* each = message.add_binds();
    each->set_host(bind.host.string());
    each->set_inside(bind.inside);
    each->set_writable(bind.access == Access::kWritable);
  }
  message.mutable_argv()->Assign(sandbox.argv.begin(), sandbox.argv.end());
  message.mutable_environment()->Assign(sandbox.environment.begin(), sandbox.environment.end());
  message.set_working_directory(sandbox.working_directory);
  const SandboxLimits& limits = sandbox.limits;
  message.set_memory_bytes(limits.memory_bytes);
  message.set_processes(limits.processes);
  message.set_file_bytes(limits.file_bytes);
  if (limits.wall_time != absl::InfiniteDuration()) {
    message.set_wall_time_ms(
        std::max<std::int64_t>(1, absl::ToInt64Milliseconds(limits.wall_time)));
  }
  message.set_nice(limits.nice);
  return message;
}

host::Sandbox FromWire(const Sandbox& message) {
  host::Sandbox sandbox;
  sandbox.label = message.label();
  if (message.has_uid()) sandbox.run_as = Identity{.uid = message.uid(), .gid = message.gid()};
  for (const Bind& bind : message.binds()) {
    sandbox.binds.push_back({.host = bind.host(),
                             .inside = bind.inside(),
                             .access = bind.writable() ? Access::kWritable : Access::kReadOnly});
  }
  sandbox.argv.assign(message.argv().begin(), message.argv().end());
  sandbox.environment.assign(message.environment().begin(), message.environment().end());
  sandbox.working_directory = message.working_directory();
  sandbox.limits.memory_bytes = message.memory_bytes();
  sandbox.limits.processes = message.processes();
  sandbox.limits.file_bytes = message.file_bytes();
  if (message.wall_time_ms() != 0) {
    sandbox.limits.wall_time = absl::Milliseconds(message.wall_time_ms());
  }
  sandbox.limits.nice = message.nice();
  return sandbox;
}

Ended ToWire(const SandboxResult& result) {
  Ended message;
  message.set_code(result.status.code);
  message.set_signal(result.status.signal);
  message.set_cause(static_cast<int>(result.cause));
  message.set_message(result.message);
  message.set_cpu_time_us(absl::ToInt64Microseconds(result.cpu_time));
  message.set_peak_memory_bytes(result.peak_memory_bytes);
  return message;
}

SandboxResult FromWire(const Ended& message) {
  return {.status = {.code = message.code(), .signal = message.signal()},
          .cause = static_cast<EndCause>(message.cause()),
          .message = message.message(),
          .cpu_time = absl::Microseconds(message.cpu_time_us()),
          .peak_memory_bytes = message.peak_memory_bytes()};
}

Ability ToWire(const SandboxAbility& ability) {
  Ability message;
  message.set_usable(ability.usable);
  message.set_reason(ability.reason);
  for (const LimitReport& limit : ability.limits) {
    Limit* each = message.add_limits();
    each->set_name(limit.name);
    each->set_holds(limit.holds);
    each->set_mechanism(limit.mechanism);
    each->set_detail(limit.detail);
  }
  return message;
}

SandboxAbility FromWire(const Ability& message) {
  SandboxAbility ability{.usable = message.usable(), .reason = message.reason(), .limits = {}};
  for (const Limit& limit : message.limits()) {
    ability.limits.push_back({.name = limit.name(),
                              .holds = limit.holds(),
                              .mechanism = limit.mechanism(),
                              .detail = limit.detail()});
  }
  return ability;
}

}  // namespace kdbg::host::wire
