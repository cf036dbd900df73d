// A process of this program that stays beside the one this process becomes (gdb), and learns from
// the end of its standard input that it is gone, however it ended.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/channel/server_address.h"
#include "proto/support/subprocess.h"
#include "proto/support/unique_fd.h"

namespace kdbg::client {

class Companion {
 public:
  // kdbgctl with `arguments`, on `server`, with our standard error. What it prints goes to the
  // descriptor `output`; -1: nowhere. One started later ends before this one, whose input it
  // inherits.
  static absl::StatusOr<Companion> Start(const ServerAddress& server,
                                         const std::vector<std::string>& arguments,
                                         int output = -1);

 private:
  Companion(Subprocess process, UniqueFd lifeline)
      : process_(std::move(process)), lifeline_(std::move(lifeline)) {}

  Subprocess process_;
  UniqueFd lifeline_;  // its standard input; this process and what it execs hold the other end
};

}  // namespace kdbg::client
