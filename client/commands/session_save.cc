#include <fmt/format.h>

#include "client/commands/artifact.h"
#include "client/commands/lookup.h"
#include "client/commands/session.h"
#include "client/commands/session_start.h"
#include "client/output/text.h"

namespace kdbg::client {

CommandEnd SessionSave(Context& context, const std::string& session) {
  v1::SaveSessionRequest request;
  KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), SessionName(session));
  KDBG_ASSIGN_OR_RETURN(const v1::Artifact saved,
                        context.Call<v1::SessionService>(&v1::SessionService::Stub::SaveSession,
                                                         request, kCopyDeadline));
  context.output().Resource(saved, saved.name(), ArtifactDetails(saved));
  if (context.output().format() == Format::kTable) {
    context.output().Note(fmt::format("next: kdbgctl session restore {}", ShortName(saved.name())));
  }
  return kExitDone;
}

CommandEnd SessionRestore(Context& context, const SessionRestoreOptions& options) {
  v1::RestoreSessionRequest request;
  KDBG_ASSIGN_OR_RETURN(const v1::Artifact saved, FindArtifact(context, options.artifact));
  request.set_artifact(saved.name());
  request.set_queue(options.queue);
  if (!options.ttl.empty()) {
    KDBG_ASSIGN_OR_RETURN(const absl::Duration ttl, ParseTtl(options.ttl));
    *request.mutable_ttl() = ToProto(ttl);
  }
  KDBG_ASSIGN_OR_RETURN(
      v1::Session session,
      context.Call<v1::SessionService>(&v1::SessionService::Stub::RestoreSession, request));
  int exit_code = kExitDone;
  if (!options.no_wait) {
    KDBG_ASSIGN_OR_RETURN(session, AwaitReady(context, session));
    exit_code = ReportReadiness(session);
  }
  context.output().Resource(session, session.name(), SessionDetails(session));
  return exit_code;
}

}  // namespace kdbg::client
