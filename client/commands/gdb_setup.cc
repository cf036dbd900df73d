#include "client/commands/gdb_setup.h"

#include <fmt/format.h>

#include <system_error>

#include "client/commands/lookup.h"
#include "client/gdb/gdb_init.h"
#include "client/output/progress.h"
#include "client/output/text.h"
#include "proto/contract/architecture.h"
#include "proto/contract/resource_name.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

absl::StatusOr<v1::Artifact> KernelOf(Context& context, const v1::Session& session) {
  v1::GetArtifactRequest request;
  request.set_name(session.kernel_artifact());
  return context.Call<v1::ArtifactService>(&v1::ArtifactService::Stub::GetArtifact, request);
}

// The kernel's scripts are code that would run here, as the user: only what the user built, what
// the service built of a tree its admin trusts, or what the user vouches for.
absl::StatusOr<Scripts> DecideScripts(Context& context, const v1::Artifact& kernel,
                                      TrustScripts trust) {
  if (trust == TrustScripts::kAll) return Scripts::kYes;
  KDBG_ASSIGN_OR_RETURN(const v1::ServerInfo info,
                        context.Call<v1::ServerService>(&v1::ServerService::Stub::GetServerInfo,
                                                        v1::GetServerInfoRequest()));
  if (kernel.owner() == info.user() || kernel.owner() == kServiceOwner) return Scripts::kYes;
  context.output().Note(fmt::format(
      "lx- commands are left out: {} built this kernel, and they would run as you (--trust-scripts "
      "loads them)",
      kernel.owner()));
  return Scripts::kNo;
}

std::string ChooseGdb(const ClientConfig& config, const v1::Artifact& kernel) {
  const ArchitectureTraits* traits = FindArchitecture(ArchitectureName(kernel.architecture()));
  if (traits == nullptr || config.gdb != "gdb") return config.gdb;
  return std::string(GdbFor(traits->architecture));
}

}  // namespace

absl::Status CheckLives(const v1::Session& session) {
  if (session.state() != v1::Session::ENDED && session.state() != v1::Session::ENDING &&
      session.state() != v1::Session::FAILED) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      fmt::format("{} is {}{}{}: create another with kdbgctl session create", session.name(),
                  v1::Session::State_Name(session.state()),
                  session.end_reason().empty() ? "" : ", ", session.end_reason()));
}

absl::StatusOr<GdbSetup> SetUpGdb(Context& context, const v1::Session& session,
                                  TrustScripts trust) {
  GdbSetup setup;
  KDBG_ASSIGN_OR_RETURN(setup.kernel, KernelOf(context, session));
  KDBG_ASSIGN_OR_RETURN(const Scripts wanted, DecideScripts(context, setup.kernel, trust));
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  KDBG_ASSIGN_OR_RETURN(setup.cache, UserCacheDirectory(PathEnvironment::Current()));
  Progress progress(context.output());
  KDBG_ASSIGN_OR_RETURN(
      setup.symbols,
      SymbolCache(setup.cache).Fetch(*server, context.interrupt(), progress, setup.kernel, wanted));
  KDBG_ASSIGN_OR_RETURN(const ClientConfig config, context.Config());
  setup.gdb = ChooseGdb(config, setup.kernel);
  setup.directory = setup.cache / "sessions" / ShortName(session.name());
  // Read by gdb as commands: nobody else may put anything there.
  KDBG_RETURN_IF_ERROR(MakeDirectories(setup.directory, 0700));
  if (setup.symbols.scripts.empty()) return setup;
  setup.loader = setup.directory / "load_scripts.py";
  KDBG_RETURN_IF_ERROR(WriteFileAtomic(
      setup.loader, ScriptLoaderText(setup.symbols.scripts, setup.symbols.build_directory), 0600));
  return setup;
}

// The TCP port where it is this machine's own; elsewhere the connection that has proved who we are,
// and which alone can take over.
absl::StatusOr<std::string> TargetOf(Context& context, const v1::Session& session, Hold hold,
                                     const std::filesystem::path& socket) {
  const bool take_over = hold == Hold::kTakeOver;
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  if (server->on_this_host() && session.gdb().port() != 0 && !take_over) {
    const std::string& host = session.gdb().host();
    const bool any = host.empty() || host == "0.0.0.0" || host == "::";
    return fmt::format("{}:{}", any ? "127.0.0.1" : host, session.gdb().port());
  }
  if (!socket.empty()) return socket.string();
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return fmt::format("| {} --server {} gdb-pipe {}{}",
                     QuoteForShell(error ? "kdbgctl" : self.string()),
                     QuoteForShell(ToString(server->address())), take_over ? "--take-over " : "",
                     ShortName(session.name()));
}

}  // namespace kdbg::client
