#include "client/commands/drain.h"

#include <fmt/format.h>

#include <set>
#include <vector>

#include "client/commands/build_watch.h"
#include "client/commands/lookup.h"
#include "client/output/text.h"

namespace kdbg::client {
namespace {

// Builds and sessions in one table: what an admin wants to know is whom to talk to.
void Print(const Context& context, const v1::DrainReport& report) {
  if (context.output().format() == Format::kJson) return context.output().Resource(report, "", {});
  std::vector<Row> rows;
  std::set<std::string> owners;
  for (const v1::Build& build : report.builds()) {
    owners.insert(build.owner());
    rows.push_back({build.name(), build.display_name(), v1::Build::State_Name(build.state()),
                    build.owner(), ""});
  }
  for (const v1::Session& session : report.sessions()) {
    owners.insert(session.owner());
    rows.push_back({session.name(), "", v1::Session::State_Name(session.state()), session.owner(),
                    Until(session.expire_time())});
  }
  if (context.output().format() == Format::kName) {
    for (const Row& row : rows) Output::Write(row.front() + "\n");
    return;
  }
  if (!rows.empty()) {
    Output::Write(FormatTable(
        {{"NAME"}, {"CALLED"}, {"STATE"}, {"OWNER"}, {"EXPIRES IN", Align::kRight}}, rows));
  }
  context.output().Note(
      fmt::format("the server takes {}; it has {} builds and {} sessions of {} owners",
                  report.draining() ? "nothing new" : "new work", report.builds_size(),
                  report.sessions_size(), owners.size()));
}

}  // namespace

CommandEnd Drain(Context& context, const DrainOptions& options) {
  v1::DrainRequest request;
  request.set_reason(options.reason);
  request.set_running(options.requeue ? v1::DrainRequest::REQUEUE : v1::DrainRequest::FINISH);
  KDBG_ASSIGN_OR_RETURN(const v1::DrainReport report,
                        context.Call<v1::ServerService>(&v1::ServerService::Stub::Drain, request));
  Print(context, report);
  if (!options.wait) return kExitDone;
  for (const v1::Build& build : report.builds()) {
    KDBG_RETURN_IF_ERROR(WatchBuild(context, build.name()).status());
  }
  context.output().Note("no build is left; sessions run on across a restart of the server");
  return kExitDone;
}

CommandEnd Undrain(Context& context) {
  KDBG_ASSIGN_OR_RETURN(
      const v1::DrainReport report,
      context.Call<v1::ServerService>(&v1::ServerService::Stub::Undrain, v1::UndrainRequest()));
  Print(context, report);
  return kExitDone;
}

}  // namespace kdbg::client
