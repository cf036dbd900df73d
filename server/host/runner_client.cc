#include "server/host/runner_client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/base/call_once.h"
#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"
#include "server/host/runner_wire.h"
#include "server/host/seqpacket.h"

namespace kdbg::host {
namespace {

absl::Status Unavailable(const std::filesystem::path& socket, const absl::Status& cause) {
  return MakeError(absl::StatusCode::kUnavailable, Reason::kRunnerUnavailable,
                   fmt::format("the runner at {} does not answer ({}); see the server's log, then "
                               "start kdbg-runner again",
                               socket.string(), std::string(cause.message())));
}

absl::Status FromRefusal(const wire::Refusal& refusal) {
  const auto code = static_cast<absl::StatusCode>(refusal.code());
  if (refusal.unavailable()) {
    return MakeError(code, Reason::kSandboxUnavailable, refusal.message());
  }
  return {code, refusal.message()};
}

class RemoteRun : public SandboxRun {
 public:
  explicit RemoteRun(UniqueFd connection) : connection_(std::move(connection)) {}

  ~RemoteRun() override {
    Cancel();
    Wait();
  }

  SandboxResult Wait() override {
    absl::call_once(once_, [this] { result_ = Read(); });
    return result_;
  }

  // The runner sees the end of our side and can still send its last word.
  void Cancel() override { ::shutdown(connection_.get(), SHUT_WR); }

 private:
  SandboxResult Read() {
    wire::Reply reply;
    const absl::Status status = wire::Receive(connection_.get(), reply);
    if (status.ok() && reply.has_ended()) return wire::FromWire(reply.ended());
    SandboxResult lost;
    lost.cause = EndCause::kRunnerLost;
    lost.message = "the runner went away while the command ran";
    return lost;
  }

  const UniqueFd connection_;
  absl::once_flag once_;
  SandboxResult result_;  // written under once_
};

}  // namespace

RunnerClient::RunnerClient(std::filesystem::path socket) : socket_(std::move(socket)) {}

absl::StatusOr<std::unique_ptr<SandboxRun>> RunnerClient::Start(const Sandbox& sandbox,
                                                                int stdin_fd, int stdout_fd,
                                                                int stderr_fd) {
  absl::StatusOr<UniqueFd> connection = ConnectSeqpacket(socket_);
  if (!connection.ok()) return Unavailable(socket_, connection.status());
  const UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing) return ErrnoError(errno, "open /dev/null");
  const auto or_nothing = [&](int fd) { return fd >= 0 ? fd : nothing.get(); };
  wire::Request request;
  *request.mutable_run() = wire::ToWire(sandbox);
  const absl::Status sent =
      wire::Send(connection->get(), request,
                 {or_nothing(stdin_fd), or_nothing(stdout_fd), or_nothing(stderr_fd)});
  if (absl::IsInvalidArgument(sent)) return sent;
  wire::Reply reply;
  const absl::Status answered = sent.ok() ? wire::Receive(connection->get(), reply) : sent;
  if (!answered.ok()) return Unavailable(socket_, answered);
  if (reply.has_refusal()) return FromRefusal(reply.refusal());
  return std::make_unique<RemoteRun>(*std::move(connection));
}

SandboxAbility RunnerClient::Probe() {
  wire::Reply reply;
  const absl::Status status = [&]() -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(const UniqueFd connection, ConnectSeqpacket(socket_));
    wire::Request request;
    request.set_probe(true);
    KDBG_RETURN_IF_ERROR(wire::Send(connection.get(), request));
    return wire::Receive(connection.get(), reply);
  }();
  if (status.ok() && reply.has_ability()) return wire::FromWire(reply.ability());
  SandboxAbility ability;
  ability.reason = status.ok() ? "the runner does not understand us; restart it together with kdbgd"
                               : std::string(Unavailable(socket_, status).message());
  return ability;
}

}  // namespace kdbg::host
