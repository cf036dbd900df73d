#include "server/runner/supervise.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/support/status_macros.h"
#include "server/host/runner_wire.h"
#include "server/runner/probe.h"
#include "server/runner/supervisor.h"

namespace kdbg::runner {
namespace {

namespace wire = host::wire;

void Answer(int connection, const wire::Reply& reply) {
  // The daemon may be gone: then nobody wants to know.
  wire::Send(connection, reply).IgnoreError();
}

void Refuse(int connection, const absl::Status& status) {
  wire::Reply reply;
  reply.mutable_refusal()->set_code(static_cast<int>(status.code()));
  reply.mutable_refusal()->set_unavailable(absl::IsFailedPrecondition(status));
  reply.mutable_refusal()->set_message(std::string(status.message()));
  Answer(connection, reply);
}

void RunOne(Supervisor& supervisor, int connection, const host::Sandbox& sandbox,
            const std::vector<UniqueFd>& standard) {
  if (standard.size() != 3) {
    Refuse(connection, absl::InvalidArgumentError("a run needs three descriptors"));
    return;
  }
  bool told = false;
  const auto started = [connection, &told] {
    wire::Reply reply;
    reply.set_started(true);
    Answer(connection, reply);
    told = true;
  };
  const absl::StatusOr<host::SandboxResult> result =
      supervisor.Run(sandbox, {standard[0].get(), standard[1].get(), standard[2].get()}, started);
  if (!result.ok()) {
    Refuse(connection, result.status());
    return;
  }
  // A command can be ended before its namespaces were there.
  if (!told) started();
  wire::Reply reply;
  *reply.mutable_ended() = wire::ToWire(*result);
  Answer(connection, reply);
}

absl::Status SuperviseConnection(const Options& options) {
  const int connection = options.supervise_fd;
  KDBG_ASSIGN_OR_RETURN(const std::unique_ptr<Supervisor> supervisor,
                        Supervisor::Create(options, connection));
  wire::Request request;
  std::vector<UniqueFd> descriptors;
  const absl::Status received = wire::Receive(connection, request, &descriptors);
  if (absl::IsAborted(received)) return absl::OkStatus();
  KDBG_RETURN_IF_ERROR(received);
  if (request.has_run()) {
    RunOne(*supervisor, connection, wire::FromWire(request.run()), descriptors);
  } else {
    wire::Reply reply;
    *reply.mutable_ability() = wire::ToWire(Probe(*supervisor, options.cgroups));
    Answer(connection, reply);
  }
  return absl::OkStatus();
}

}  // namespace

int Supervise(const Options& options) {
  // Should the runner be killed, its supervisors go, and with them their commands.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != options.parent_pid) return 1;
  ::fcntl(options.supervise_fd, F_SETFD, FD_CLOEXEC);
  const absl::Status status = SuperviseConnection(options);
  if (status.ok()) return 0;
  fmt::print(stderr, "kdbg-runner: {}\n", status.ToString());
  return 1;
}

}  // namespace kdbg::runner
