// One message of the runner's protocol over a unix SOCK_SEQPACKET socket, and the conversions both
// ends need. Private to host and runner. Stateless.
#pragma once

#include <initializer_list>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"
#include "proto/support/unique_fd.h"
#include "server/host/runner_protocol.pb.h"
#include "server/host/sandbox.h"

namespace kdbg::host::wire {

// Well below what a unix socket takes in one message by default.
inline constexpr std::size_t kMessageLimit = std::size_t{128} << 10;

absl::Status Send(int socket, const google::protobuf::MessageLite& message,
                  std::initializer_list<int> descriptors = {});

// Blocks for one message. Descriptors that came along are appended to `descriptors`. ABORTED when
// the other end has closed.
absl::Status Receive(int socket, google::protobuf::MessageLite& message,
                     std::vector<UniqueFd>* descriptors = nullptr);

Sandbox ToWire(const host::Sandbox& sandbox);
host::Sandbox FromWire(const Sandbox& message);
Ended ToWire(const SandboxResult& result);
SandboxResult FromWire(const Ended& message);
Ability ToWire(const SandboxAbility& ability);
SandboxAbility FromWire(const Ability& message);

}  // namespace kdbg::host::wire
