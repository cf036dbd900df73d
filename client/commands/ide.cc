#include "client/commands/ide.h"

#include <fmt/format.h>
#include <google/protobuf/struct.pb.h>

#include <filesystem>
#include <system_error>

#include "client/commands/gdb_setup.h"
#include "client/commands/lookup.h"
#include "client/commands/session_start.h"
#include "client/gdb/gdb_init.h"
#include "client/ide/ide_launch.h"
#include "client/ide/launch_json.h"
#include "client/output/text.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

namespace fs = std::filesystem;

// Every Linux has it, and start_kernel in it.
constexpr char kKernelMark[] = "init/main.c";

absl::StatusOr<fs::path> FindTree(const std::string& named) {
  std::error_code error;
  fs::path start = fs::canonical(named.empty() ? "." : named, error);
  if (error) {
    return absl::NotFoundError(fmt::format("--source-dir {}: no such directory", named));
  }
  if (fs::exists(start / kKernelMark, error)) return start;
  if (!named.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("--source-dir {}: no kernel source tree, it has no {}", named, kKernelMark));
  }
  for (fs::path above = start; above != above.root_path();) {
    above = above.parent_path();
    if (fs::exists(above / kKernelMark, error)) return above;
  }
  return absl::FailedPreconditionError(fmt::format(
      "{} is in no kernel source tree: go to yours, or name it with --source-dir", start.string()));
}

struct IdeFiles {
  const char* name;  // as on the command line
  fs::path file;     // below the output directory
  std::string next;  // what its user does then
};

// Where nobody's `git status` sees them: Linux ignores names that begin with a dot.
IdeFiles FilesOf(Ide ide, const std::string& launch) {
  if (ide == Ide::kVscode) {
    return {"vscode", ".vscode/launch.json",
            fmt::format("open the directory in VS Code; Run and Debug, {}", launch)};
  }
  if (ide == Ide::kEclipse) {
    return {"eclipse", fmt::format(".eclipse/{}.launch", launch),
            fmt::format("in Eclipse, File, Import, Run/Debug, Launch Configurations from that "
                        "directory; then Debug Configurations, GDB Hardware Debugging, {}",
                        launch)};
  }
  return {"clion", fmt::format(".run/{}.run.xml", launch),
          fmt::format("open the directory in CLion; Debug, {}", launch)};
}

absl::StatusOr<std::string> TextFor(Ide ide, const IdeLaunch& launch, const fs::path& file) {
  if (ide == Ide::kEclipse) return EclipseLaunch(launch);
  if (ide == Ide::kClion) return ClionRunConfiguration(launch);
  auto text = ReadFile(file);
  if (absl::IsNotFound(text.status())) text = std::string();
  KDBG_RETURN_IF_ERROR(text.status());
  auto merged = WithConfiguration(*text, launch.name, VscodeConfiguration(launch));
  if (merged.ok()) return merged;
  return absl::FailedPreconditionError(
      fmt::format("{}: {}; it is left as it is: mend it, or write elsewhere with --output",
                  file.string(), std::string(merged.status().message())));
}

// CLion starts this program as if it were gdb.
absl::Status WriteGdbWithSettings(const fs::path& program, const IdeLaunch& launch) {
  return WriteFileAtomic(
      program,
      fmt::format("#!/bin/sh\n# Written by kdbgctl; made anew each time.\nexec {} -ix {} \"$@\"\n",
                  QuoteForShell(launch.gdb), QuoteForShell(launch.settings.string())),
      0700);
}

// What is there may be a link, and not for everybody to read.
absl::Status WriteOver(const fs::path& file, const std::string& text) {
  std::error_code error;
  const fs::path there = fs::canonical(file, error);
  if (error) {
    KDBG_RETURN_IF_ERROR(MakeDirectories(file.parent_path(), 0755));
    return WriteFileAtomic(file, text);
  }
  const auto mode = fs::status(there, error).permissions() & fs::perms::all;
  return WriteFileAtomic(there, text, static_cast<int>(mode));
}

void Tell(const Output& output, const IdeFiles& files, const fs::path& file,
          const IdeLaunch& launch) {
  google::protobuf::Struct written;
  const auto set = [&](const char* name, const std::string& value) {
    (*written.mutable_fields())[name].set_string_value(value);
  };
  set("ide", files.name);
  set("file", file.string());
  set("name", launch.name);
  set("gdb", launch.gdb);
  set("target", launch.target);
  set("symbols", launch.vmlinux.string());
  set("sourceDirectory", launch.tree.string());
  output.Resource(written, file.string(),
                  {{"File", file.string()},
                   {"Name", launch.name},
                   {"Gdb", launch.gdb},
                   {"Target", launch.target},
                   {"Symbols", launch.vmlinux.string()},
                   {"Sources", launch.tree.string()}});
  if (output.format() == Format::kTable) output.Note("next: " + files.next);
}

}  // namespace

CommandEnd WriteIdeLaunch(Context& context, const IdeOptions& options) {
  KDBG_ASSIGN_OR_RETURN(const std::string session_name, SessionName(options.session));
  KDBG_ASSIGN_OR_RETURN(const fs::path tree, FindTree(options.source_directory));
  KDBG_ASSIGN_OR_RETURN(v1::Session session, FindSession(context, session_name));
  KDBG_ASSIGN_OR_RETURN(session, AwaitReady(context, session));
  KDBG_RETURN_IF_ERROR(CheckLives(session));
  KDBG_ASSIGN_OR_RETURN(
      const GdbSetup setup,
      SetUpGdb(context, session,
               options.trust_scripts ? TrustScripts::kAll : TrustScripts::kOwnOnly));
  const std::string id = ShortName(session_name);
  IdeLaunch launch{.name = "kdbg-" + id,
                   .gdb = setup.gdb,
                   .settings = {},
                   .vmlinux = setup.symbols.vmlinux,
                   .target = {},
                   .compiled_directory = kSourceInSandbox,
                   .tree = tree};
  const IdeFiles files = FilesOf(options.ide, launch.name);
  launch.settings = setup.directory / fmt::format("{}.gdb", files.name);
  KDBG_ASSIGN_OR_RETURN(launch.target, TargetOf(context, session, Hold::kIfFree));
  const std::string settings = GdbSettingsText({.session = id,
                                                .vmlinux = launch.vmlinux,
                                                .index_directory = setup.symbols.index_directory,
                                                .source_directory = tree,
                                                .target = launch.target});
  // Last: a gdb without Python goes no further.
  const std::string scripts =
      setup.loader.empty() ? "" : fmt::format("source {}\n", setup.loader.string());
  KDBG_RETURN_IF_ERROR(WriteFileAtomic(launch.settings, settings + scripts, 0600));
  if (options.ide == Ide::kClion) {
    const fs::path program = setup.directory / "clion-gdb";
    KDBG_RETURN_IF_ERROR(WriteGdbWithSettings(program, launch));
    launch.gdb = program;
  }
  const fs::path file =
      fs::absolute(options.output.empty() ? tree : fs::path(options.output)) / files.file;
  KDBG_ASSIGN_OR_RETURN(const std::string text, TextFor(options.ide, launch, file));
  KDBG_RETURN_IF_ERROR(WriteOver(file, text));
  Tell(context.output(), files, file, launch);
  return kExitDone;
}

}  // namespace kdbg::client
