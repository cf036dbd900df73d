// What stands beside gdb on a session: answers its requests for source files and, when the server
// is elsewhere, carries its protocol there. One process and one connection to the server for both,
// started as soon as the session has a name, so that connecting is over when gdb asks. It ends with
// gdb, however gdb ends.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "client/commands/companion.h"
#include "client/commands/context.h"

namespace kdbg::client {

// Hidden command `gdb-companion`: prints "PORT TOKEN SOCKET\n", serves until standard input ends.
struct GdbCompanionOptions {
  std::string session;
  bool take_over = false;  // from another gdb
};
CommandEnd AccompanyGdb(Context& context, const GdbCompanionOptions& options);

class GdbCompanion {
 public:
  static absl::StatusOr<GdbCompanion> Start(const ServerAddress& server,
                                            const GdbCompanionOptions& options);

  struct Doors {
    std::string debuginfod_url;
    std::filesystem::path gdb_socket;  // for target remote; empty: its path would be none for gdb
  };
  // Blocks until it serves; once. INTERNAL when it did not come up.
  absl::StatusOr<Doors> Await();

 private:
  GdbCompanion(Companion process, UniqueFd answer)
      : process_(std::move(process)), answer_(std::move(answer)) {}

  Companion process_;
  UniqueFd answer_;
};

}  // namespace kdbg::client
