#include "client/commands/session.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "client/commands/lookup.h"
#include "client/commands/session_start.h"
#include "client/output/text.h"

namespace kdbg::client {
namespace {

std::string Gdb(const v1::Session& session) {
  if (session.gdb().port() == 0) return "";
  return fmt::format("{}:{}{}{}", session.gdb().host(), session.gdb().port(),
                     session.gdb().holder().empty() ? "" : ", held by ", session.gdb().holder());
}

std::string State(const v1::Session& session) {
  if (session.state() == v1::Session::QUEUED) {
    return fmt::format("QUEUED, place {}", session.queue_place());
  }
  const bool runs = session.state() == v1::Session::READY;
  return fmt::format(
      "{}{}{}", v1::Session::State_Name(session.state()), runs ? ", " : "",
      runs ? (session.run_state() == v1::Session::RUNNING ? "running" : "halted") : "");
}

std::string Shares(const v1::Session& session) {
  std::string text;
  for (const v1::Session::Share& share : session.shares()) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", share.user(),
                        share.access() == v1::Session::Share::CONTROL ? "control" : "read");
  }
  return text;
}

std::string StartTimes(const v1::Session& session) {
  if (!session.has_start_times()) return "";
  return fmt::format("{} to create, {} to boot",
                     Elapsed(ToDuration(session.start_times().create())),
                     Elapsed(ToDuration(session.start_times().boot())));
}

std::string Origin(const v1::Session& session) {
  switch (session.origin()) {
    case v1::Session::COLD:
      return "cold: it booted";
    case v1::Session::CLONED:
      return "cloned from a template";
    case v1::Session::WARM:
      return "cloned from a template, ahead of the request";
    case v1::Session::RESTORED:
      return "restored from a saved state";
    default:
      return "";
  }
}

std::string Orders(const v1::Session& session) {
  std::string text;
  if (session.on_panic() == v1::Session::DUMP) text = "dumped on a panic";
  if (session.on_panic() == v1::Session::RESET) text = "reset on a panic";
  if (session.on_expiry() == v1::Session::DUMP_AND_END) {
    text += fmt::format("{}dumped when its lease ends", text.empty() ? "" : ", ");
  }
  return text;
}

std::string Network(const v1::Session& session) {
  if (!session.has_network()) return "";
  if (session.network().forwards().empty()) return "of its own, nothing forwarded";
  std::string text;
  for (const v1::Network::Forward& forward : session.network().forwards()) {
    if (!text.empty()) text += ", ";
    if (forward.port() != 0) text += fmt::format("{}:{} to ", forward.host(), forward.port());
    text += fmt::format("its port {}", forward.guest_port());
  }
  return text;
}

template <typename Request>
CommandEnd ChangeAndShow(Context& context,
                         grpc::Status (v1::SessionService::Stub::*method)(grpc::ClientContext*,
                                                                          const Request&,
                                                                          v1::Session*),
                         Request request, const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), SessionName(text));
  KDBG_ASSIGN_OR_RETURN(const v1::Session session,
                        context.Call<v1::SessionService>(method, request));
  context.output().Resource(session, session.name(), SessionDetails(session));
  return kExitDone;
}

}  // namespace

Details SessionDetails(const v1::Session& session) {
  const v1::GuestShape& shape = session.shape();
  return {{"Session", ShortName(session.name())},
          {"State", State(session)},
          {"Stopped at", session.stopped_at()},
          {"Ended", session.end_reason()},
          {"Failure", session.failure().message()},
          {"Excerpt", session.failure().excerpt()},
          {"gdb", Gdb(session)},
          {"Kernel", fmt::format("{}  ({})", ShortName(session.kernel()),
                                 ShortName(session.kernel_artifact()))},
          {"Initramfs", session.initramfs_artifact().empty()
                            ? session.initramfs()
                            : fmt::format("{}  ({})", ShortName(session.initramfs()),
                                          ShortName(session.initramfs_artifact()))},
          {"Guest", fmt::format("{} CPUs, {} MiB, {}", shape.vcpu_count(), shape.memory_mib(),
                                session.accelerator())},
          {"Network", Network(session)},
          {"Disk", session.disk().image()},
          {"Folder", ShortName(session.folder().upload())},
          {"Devices", fmt::format("{}", fmt::join(session.devices(), ", "))},
          {"Saved state", ShortName(session.saved_state())},
          {"Command line", session.command_line()},
          {"By itself", Orders(session)},
          {"Dumped", ShortName(session.last_dump())},
          {"Not dumped", session.dump_failure()},
          {"Console", session.console_size_bytes() > 0 ? Bytes(session.console_size_bytes()) : ""},
          {"Start", Origin(session)},
          {"Start took", StartTimes(session)},
          {"Owner", session.owner()},
          {"Shared with", Shares(session)},
          {"Created", Moment(session.create_time())},
          {"Expires", session.has_expire_time()
                          ? fmt::format("{}, in {}", Moment(session.expire_time()),
                                        Until(session.expire_time()))
                          : ""}};
}

CommandEnd SessionCreate(Context& context, const SessionCreateOptions& options) {
  KDBG_ASSIGN_OR_RETURN(v1::Session session, CreateSession(context, options));
  int exit_code = kExitDone;
  if (!options.no_wait) {
    KDBG_ASSIGN_OR_RETURN(session, AwaitReady(context, session));
    exit_code = ReportReadiness(session);
  }
  context.output().Resource(session, session.name(), SessionDetails(session));
  if (exit_code == kExitDone && context.output().format() == Format::kTable) {
    context.output().Note(
        fmt::format("next: kdbgctl gdb {0}, kdbgctl console {0}", ShortName(session.name())));
  }
  return exit_code;
}

CommandEnd SessionList(Context& context, Owners owners, Ended ended) {
  v1::ListSessionsRequest request;
  request.set_all_owners(owners == Owners::kAll);
  request.set_include_ended(ended == Ended::kInclude);
  KDBG_ASSIGN_OR_RETURN(
      const v1::ListSessionsResponse list,
      context.ListAll<v1::SessionService>(&v1::SessionService::Stub::ListSessions, request));
  std::vector<Row> rows;
  for (const v1::Session& session : list.sessions()) {
    rows.push_back({ShortName(session.name()), State(session), ShortName(session.kernel()),
                    Gdb(session), session.accelerator(), Age(session.create_time()),
                    Until(session.expire_time()), session.owner()});
  }
  context.output().List(list, "sessions",
                        {{"SESSION"},
                         {"STATE"},
                         {"KERNEL"},
                         {"GDB"},
                         {"ACCEL"},
                         {"AGE", Align::kRight},
                         {"EXPIRES IN", Align::kRight},
                         {"OWNER"}},
                        rows);
  return kExitDone;
}

CommandEnd SessionShow(Context& context, const std::string& text) {
  KDBG_ASSIGN_OR_RETURN(const v1::Session session, FindSession(context, text));
  context.output().Resource(session, session.name(), SessionDetails(session));
  return kExitDone;
}

CommandEnd SessionWatch(Context& context, const std::string& text) {
  v1::GetSessionRequest request;
  KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), SessionName(text));
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  v1::Session last;
  std::string told;
  KDBG_RETURN_IF_ERROR(Follow<v1::Session>(
      *server, context.interrupt(),
      [&](grpc::ClientContext* call) {
        return server->stub<v1::SessionService>().WatchSession(call, request);
      },
      [&](const v1::Session& now) {
        last = now;
        const std::string line =
            fmt::format("{}{}{}{}", State(now), Gdb(now).empty() ? "" : "  gdb ", Gdb(now),
                        now.expires_soon() ? "  ends in " + Until(now.expire_time()) : "");
        if (line != told) context.output().Note(line);
        told = line;
        return Next::kGoOn;
      }));
  context.output().Resource(last, last.name(), SessionDetails(last));
  return kExitDone;
}

CommandEnd SessionRenew(Context& context, const std::string& text, const std::string& ttl) {
  v1::RenewSessionRequest request;
  if (!ttl.empty()) {
    KDBG_ASSIGN_OR_RETURN(const absl::Duration duration, ParseTtl(ttl));
    *request.mutable_ttl() = ToProto(duration);
  }
  return ChangeAndShow(context, &v1::SessionService::Stub::RenewSession, request, text);
}

CommandEnd SessionPause(Context& context, const std::string& text) {
  return ChangeAndShow(context, &v1::SessionService::Stub::PauseSession, v1::PauseSessionRequest(),
                       text);
}

CommandEnd SessionResume(Context& context, const std::string& text) {
  return ChangeAndShow(context, &v1::SessionService::Stub::ResumeSession,
                       v1::ResumeSessionRequest(), text);
}

CommandEnd SessionReset(Context& context, const std::string& text) {
  v1::ResetSessionRequest request;
  KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), SessionName(text));
  KDBG_ASSIGN_OR_RETURN(v1::Session session, context.Call<v1::SessionService>(
                                                 &v1::SessionService::Stub::ResetSession, request));
  KDBG_ASSIGN_OR_RETURN(session, AwaitReady(context, session));
  context.output().Resource(session, session.name(), SessionDetails(session));
  return ReportReadiness(session);
}

CommandEnd SessionShare(Context& context, const SessionShareOptions& options) {
  v1::ShareSessionRequest request;
  request.mutable_share()->set_user(options.user);
  request.mutable_share()->set_access(options.take_back ? v1::Session::Share::NONE
                                      : options.control ? v1::Session::Share::CONTROL
                                                        : v1::Session::Share::READ);
  return ChangeAndShow(context, &v1::SessionService::Stub::ShareSession, request, options.session);
}

CommandEnd SessionDelete(Context& context, const std::vector<std::string>& sessions) {
  for (const std::string& text : sessions) {
    v1::DeleteSessionRequest request;
    KDBG_ASSIGN_OR_RETURN(*request.mutable_name(), SessionName(text));
    const auto deleted =
        context.Call<v1::SessionService>(&v1::SessionService::Stub::DeleteSession, request);
    if (!deleted.ok()) return deleted.status();
    context.output().Note(fmt::format("{} deleted", request.name()));
  }
  return kExitDone;
}

}  // namespace kdbg::client
