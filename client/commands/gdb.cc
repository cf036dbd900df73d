#include "client/commands/gdb.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>

#include "client/commands/lookup.h"
#include "client/commands/session_start.h"
#include "client/commands/source_server.h"
#include "client/gdb/gdb_init.h"
#include "client/gdb/symbol_cache.h"
#include "client/output/text.h"
#include "proto/contract/architecture.h"
#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

absl::Status CheckAttachable(const v1::Session& session, bool take_over) {
  if (session.state() == v1::Session::ENDED || session.state() == v1::Session::ENDING ||
      session.state() == v1::Session::FAILED) {
    return absl::FailedPreconditionError(
        fmt::format("{} is {}{}{}: create another with kdbgctl session create", session.name(),
                    v1::Session::State_Name(session.state()),
                    session.end_reason().empty() ? "" : ", ", session.end_reason()));
  }
  if (!session.gdb().holder().empty() && !take_over) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHolderBusy,
                     fmt::format("{} is held by another gdb: {}; its owner can --take-over",
                                 session.name(), session.gdb().holder()),
                     {{"holder", session.gdb().holder()}});
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Artifact> KernelOf(Context& context, const v1::Session& session) {
  v1::GetArtifactRequest request;
  request.set_name(session.kernel_artifact());
  return context.Call<v1::ArtifactService>(&v1::ArtifactService::Stub::GetArtifact, request);
}

// The kernel may be one that answered the build from another source of the same tree, which need
// not be the caller's to read.
std::string SourceOf(Context& context, const v1::Session& session, const v1::Artifact& kernel) {
  v1::GetBuildRequest request;
  request.set_name(session.kernel());
  const auto build = context.Call<v1::BuildService>(&v1::BuildService::Stub::GetBuild, request);
  return build.ok() && !build->source().empty() ? build->source() : kernel.source();
}

// The kernel's scripts are code that would run here, as the user: only what the user built, what
// the service built of a tree its admin trusts, or what the user vouches for.
absl::StatusOr<Scripts> DecideScripts(Context& context, const v1::Artifact& kernel,
                                      const GdbOptions& options) {
  if (options.trust_scripts) return Scripts::kYes;
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

// The TCP port where it is this machine's own; elsewhere the connection that has proved who we are,
// and which alone can take over.
absl::StatusOr<std::string> Target(Context& context, const v1::Session& session, bool take_over) {
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  if (server->on_this_host() && session.gdb().port() != 0 && !take_over) {
    const std::string& host = session.gdb().host();
    const bool any = host.empty() || host == "0.0.0.0" || host == "::";
    return fmt::format("{}:{}", any ? "127.0.0.1" : host, session.gdb().port());
  }
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return fmt::format("| {} --server {} gdb-pipe {}{}",
                     QuoteForShell(error ? "kdbgctl" : self.string()),
                     QuoteForShell(ToString(server->address())), take_over ? "--take-over " : "",
                     ShortName(session.name()));
}

std::string ChooseGdb(const ClientConfig& config, const v1::Artifact& kernel) {
  const ArchitectureTraits* traits = FindArchitecture(ArchitectureName(kernel.architecture()));
  if (traits == nullptr || config.gdb != "gdb") return config.gdb;
  return std::string(GdbFor(traits->architecture));
}

struct Files {
  std::filesystem::path init;
  std::filesystem::path loader;  // empty when there are no scripts
};

absl::StatusOr<Files> WriteFiles(const std::filesystem::path& directory, const GdbPlan& plan,
                                 const Symbols& symbols) {
  Files files{.init = directory / "init.gdb", .loader = {}};
  // Read by gdb as commands: nobody else may put anything there.
  KDBG_RETURN_IF_ERROR(MakeDirectories(directory, 0700));
  KDBG_RETURN_IF_ERROR(WriteFileAtomic(files.init, GdbInitText(plan), 0600));
  if (!symbols.scripts.empty()) {
    files.loader = directory / "load_scripts.py";
    KDBG_RETURN_IF_ERROR(WriteFileAtomic(
        files.loader, ScriptLoaderText(symbols.scripts, symbols.build_directory), 0600));
  }
  return files;
}

std::vector<std::string> GdbCommand(const std::string& gdb, const Files& files, bool sources,
                                    const std::vector<std::string>& arguments) {
  // -iex: a gdb without debuginfod or Python complains and goes on.
  std::vector<std::string> command = {gdb, "-q"};
  if (sources) {
    command.insert(command.end(),
                   {"-iex", "set debuginfod enabled on", "-iex", "set debuginfod verbose 0"});
  }
  if (!files.loader.empty()) {
    command.insert(command.end(), {"-iex", "source " + files.loader.string()});
  }
  command.insert(command.end(), {"-x", files.init.string()});
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

CommandEnd GdbOn(Context& context, const v1::Session& session, const GdbOptions& options) {
  KDBG_RETURN_IF_ERROR(CheckAttachable(session, options.take_over));
  KDBG_ASSIGN_OR_RETURN(const v1::Artifact kernel, KernelOf(context, session));
  KDBG_ASSIGN_OR_RETURN(const Scripts wanted, DecideScripts(context, kernel, options));
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  KDBG_ASSIGN_OR_RETURN(const std::filesystem::path root,
                        UserCacheDirectory(PathEnvironment::Current()));
  const SymbolCache cache(root);
  Progress progress(context.output());
  KDBG_ASSIGN_OR_RETURN(const Symbols symbols,
                        cache.Fetch(*server, context.interrupt(), progress, kernel, wanted));
  GdbPlan plan{.session = ShortName(session.name()),
               .vmlinux = symbols.vmlinux,
               .index_directory = symbols.index_directory,
               .source_directory = options.source_directory,
               .target = {}};
  KDBG_ASSIGN_OR_RETURN(plan.target, Target(context, session, options.take_over));
  std::error_code error;
  if (plan.source_directory.empty() && std::filesystem::exists("/src", error)) {
    // This machine has a /src of its own: gdb must not take that for the sandbox's.
    plan.source_directory = root / "not-here";
  }
  KDBG_ASSIGN_OR_RETURN(const Files files,
                        WriteFiles(root / "sessions" / plan.session, plan, symbols));
  KDBG_ASSIGN_OR_RETURN(const ClientConfig config, context.Config());
  std::optional<SourceServerProcess> sources;
  const std::string source = SourceOf(context, session, kernel);
  if (options.source_directory.empty() && !source.empty()) {
    KDBG_ASSIGN_OR_RETURN(sources,
                          SourceServerProcess::Start(server->address(), source, kernel.build_id()));
    ::setenv("DEBUGINFOD_URLS", sources->url().c_str(), 1);
    ::setenv("DEBUGINFOD_CACHE_PATH", (root / "gdb-sources").c_str(), 1);
  }
  context.Disconnect();
  return Become(
      GdbCommand(ChooseGdb(config, kernel), files, sources.has_value(), options.arguments));
}

CommandEnd Gdb(Context& context, const GdbOptions& options) {
  KDBG_ASSIGN_OR_RETURN(v1::Session session, FindSession(context, options.session));
  KDBG_ASSIGN_OR_RETURN(session, AwaitReady(context, session));
  return GdbOn(context, session, options);
}

}  // namespace kdbg::client
