#include "client/commands/gdb.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "client/commands/gdb_setup.h"
#include "client/commands/lookup.h"
#include "client/commands/session_start.h"
#include "client/gdb/gdb_init.h"
#include "client/output/text.h"
#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

absl::Status CheckAttachable(const v1::Session& session, bool take_over) {
  KDBG_RETURN_IF_ERROR(CheckLives(session));
  if (session.gdb().holder().empty() || take_over) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHolderBusy,
                   fmt::format("{} is held by another gdb: {}; its owner can --take-over",
                               session.name(), session.gdb().holder()),
                   {{"holder", session.gdb().holder()}});
}

std::vector<std::string> GdbCommand(const GdbSetup& setup, const std::filesystem::path& init,
                                    bool sources, const std::vector<std::string>& arguments) {
  // -iex: a gdb without debuginfod or Python complains and goes on.
  std::vector<std::string> command = {setup.gdb, "-q"};
  if (sources) {
    command.insert(command.end(),
                   {"-iex", "set debuginfod enabled on", "-iex", "set debuginfod verbose 0"});
  }
  if (!setup.loader.empty()) {
    command.insert(command.end(), {"-iex", "source " + setup.loader.string()});
  }
  command.insert(command.end(), {"-x", init.string()});
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

absl::Status Become(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const std::string& argument : command) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  Interrupt::RestoreDefaults();
  ::execvp(argv[0], argv.data());
  if (errno == ENOENT) {
    return absl::FailedPreconditionError(
        fmt::format("{0} is not installed: apt install {0}, or name yours with gdb = \"...\" in "
                    "~/.config/kdbg/config.toml",
                    command.front()));
  }
  return ErrnoError(errno, "start " + command.front());
}

}  // namespace

absl::StatusOr<GdbCompanion> AccompanyGdbOn(Context& context, const v1::Session& session,
                                            const GdbOptions& options) {
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  return GdbCompanion::Start(server->address(),
                             {.session = session.name(), .take_over = options.take_over});
}

CommandEnd GdbOn(Context& context, const v1::Session& session, const GdbOptions& options,
                 GdbCompanion companion) {
  KDBG_RETURN_IF_ERROR(CheckAttachable(session, options.take_over));
  KDBG_ASSIGN_OR_RETURN(
      const GdbSetup setup,
      SetUpGdb(context, session,
               options.trust_scripts ? TrustScripts::kAll : TrustScripts::kOwnOnly));
  GdbPlan plan{.session = ShortName(session.name()),
               .vmlinux = setup.symbols.vmlinux,
               .index_directory = setup.symbols.index_directory,
               .source_directory = options.source_directory,
               .target = {}};
  KDBG_ASSIGN_OR_RETURN(const GdbCompanion::Doors doors, companion.Await());
  KDBG_ASSIGN_OR_RETURN(
      plan.target, TargetOf(context, session, options.take_over ? Hold::kTakeOver : Hold::kIfFree,
                            doors.gdb_socket));
  std::error_code error;
  if (plan.source_directory.empty() && std::filesystem::exists(kSourceInSandbox, error)) {
    // This machine has a /src of its own: gdb must not take that for the sandbox's.
    plan.source_directory = setup.cache / "not-here";
  }
  const std::filesystem::path init = setup.directory / "init.gdb";
  KDBG_RETURN_IF_ERROR(WriteFileAtomic(init, GdbInitText(plan), 0600));
  const bool sources = options.source_directory.empty();
  if (sources) {
    ::setenv("DEBUGINFOD_URLS", doors.debuginfod_url.c_str(), 1);
    ::setenv("DEBUGINFOD_CACHE_PATH", (setup.cache / "gdb-sources").c_str(), 1);
  }
  context.Disconnect();
  return Become(GdbCommand(setup, init, sources, options.arguments));
}

CommandEnd Gdb(Context& context, const GdbOptions& options) {
  KDBG_ASSIGN_OR_RETURN(v1::Session session, FindSession(context, options.session));
  KDBG_RETURN_IF_ERROR(CheckAttachable(session, options.take_over));
  KDBG_ASSIGN_OR_RETURN(GdbCompanion companion, AccompanyGdbOn(context, session, options));
  KDBG_ASSIGN_OR_RETURN(session, AwaitReady(context, session));
  return GdbOn(context, session, options, std::move(companion));
}

}  // namespace kdbg::client
