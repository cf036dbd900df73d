#include "client/commands/companion.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"

namespace kdbg::client {

absl::StatusOr<Companion> Companion::Start(const ServerAddress& server,
                                           const std::vector<std::string>& arguments, int output) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  const UniqueFd input(ends[0]);
  UniqueFd lifeline(ends[1]);
  Subprocess::Options options;
  options.argv = {"/proc/self/exe", "--server", ToString(server)};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.descriptors = {{0, input.get()}, {2, STDERR_FILENO}};
  if (output >= 0) options.descriptors.emplace_back(1, output);
  KDBG_ASSIGN_OR_RETURN(Subprocess process, Subprocess::Start(options));
  // Whatever is exec'ed inherits this end: when its last holder is gone, the input ends.
  ::fcntl(lifeline.get(), F_SETFD, 0);
  return Companion(std::move(process), std::move(lifeline));
}

}  // namespace kdbg::client
