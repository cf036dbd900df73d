#include <fmt/format.h>

#include "client/commands/artifact.h"
#include "client/commands/lookup.h"
#include "client/commands/session.h"
#include "client/output/text.h"

namespace kdbg::client {
namespace {

absl::StatusOr<v1::DumpSessionRequest::Format> FormatOf(const std::string& name) {
  if (name.empty() || name == "elf") return v1::DumpSessionRequest::ELF;
  if (name == "kdump-zlib") return v1::DumpSessionRequest::KDUMP_ZLIB;
  return absl::InvalidArgumentError(
      fmt::format("--format {}: it is elf, for gdb, or kdump-zlib, for crash", name));
}

}  // namespace

CommandEnd SessionDump(Context& context, const SessionDumpOptions& options) {
  v1::DumpSessionRequest request;
  KDBG_ASSIGN_OR_RETURN(const v1::DumpSessionRequest::Format format, FormatOf(options.format));
  request.set_format(format);
  KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), SessionName(options.session));
  KDBG_ASSIGN_OR_RETURN(const v1::Artifact dump,
                        context.Call<v1::SessionService>(&v1::SessionService::Stub::DumpSession,
                                                         request, kCopyDeadline));
  const std::string id = ShortName(dump.name());
  if (!options.destination.empty()) {
    return ArtifactGet(
        context,
        {.artifact = id, .files = {}, .destination = options.destination, .to_stdout = false});
  }
  context.output().Resource(dump, dump.name(), ArtifactDetails(dump));
  if (context.output().format() == Format::kTable) {
    context.output().Note(fmt::format("next: kdbgctl artifact get {0}; {1} {0}/vmlinux {0}/vmcore",
                                      id, format == v1::DumpSessionRequest::ELF ? "gdb" : "crash"));
  }
  return kExitDone;
}

}  // namespace kdbg::client
