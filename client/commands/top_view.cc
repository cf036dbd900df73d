#include "client/commands/top_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "client/commands/build_watch.h"
#include "client/output/output.h"
#include "client/output/text.h"

namespace kdbg::client {
namespace {

// So that all columns find room in 80.
constexpr std::size_t kNameWidth = 11;

std::string Short(const std::string& name) {
  return name.size() <= kNameWidth ? name : name.substr(0, kNameWidth - 1) + "+";
}

std::string ProgressOf(const v1::Build& build) {
  const v1::BuildProgress& progress = build.progress();
  if (build.state() == v1::Build::QUEUED) {
    return progress.queue_position() > 0 ? fmt::format("place {}", progress.queue_position()) : "";
  }
  if (progress.phase() != v1::BuildProgress::COMPILING || progress.steps_done() == 0) return "";
  if (progress.steps_expected() == 0) return fmt::format("{} objects", progress.steps_done());
  std::string text = fmt::format("{}/{}", progress.steps_done(), progress.steps_expected());
  if (progress.has_time_left()) {
    text += fmt::format(", {} left", Elapsed(ToDuration(progress.time_left())));
  }
  return text;
}

std::string GdbOf(const v1::Session& session) {
  if (session.state() == v1::Session::QUEUED) {
    return session.queue_place() > 0 ? fmt::format("place {}", session.queue_place()) : "";
  }
  std::string text;
  if (session.run_state() == v1::Session::HALTED) text = "halted";
  if (session.run_state() == v1::Session::RUNNING) text = "runs";
  if (!session.gdb().holder().empty()) text += fmt::format(", gdb: {}", session.gdb().holder());
  return text;
}

std::vector<v1::Build> InOrder(const v1::Activity& activity) {
  std::vector<v1::Build> builds(activity.builds().begin(), activity.builds().end());
  const auto key = [](const v1::Build& build) {
    const auto since = build.has_start_time() ? build.start_time() : build.create_time();
    return std::tuple(build.state() == v1::Build::QUEUED, build.progress().queue_position(),
                      ToTime(since));
  };
  std::stable_sort(builds.begin(), builds.end(),
                   [&](const auto& one, const auto& other) { return key(one) < key(other); });
  return builds;
}

std::string BuildTable(const v1::Activity& activity) {
  std::vector<Row> rows;
  for (const v1::Build& build : InOrder(activity)) {
    rows.push_back({ShortName(build.name()), Short(build.owner()), Short(build.display_name()),
                    PhaseName(build),
                    Age(build.has_start_time() ? build.start_time() : build.create_time()),
                    ProgressOf(build)});
  }
  if (rows.empty()) return "";
  return FormatTable(
      {{"BUILD"}, {"OWNER"}, {"CALLED"}, {"DOES"}, {"FOR", Align::kRight}, {"PROGRESS"}}, rows);
}

std::string SessionTable(const v1::Activity& activity) {
  std::vector<v1::Session> sessions(activity.sessions().begin(), activity.sessions().end());
  std::stable_sort(sessions.begin(), sessions.end(), [](const auto& one, const auto& other) {
    return ToTime(one.expire_time()) < ToTime(other.expire_time());
  });
  std::vector<Row> rows;
  for (const v1::Session& session : sessions) {
    rows.push_back({ShortName(session.name()), Short(session.owner()),
                    absl::AsciiStrToLower(v1::Session::State_Name(session.state())),
                    session.state() == v1::Session::QUEUED ? "" : Until(session.expire_time()),
                    GdbOf(session)});
  }
  if (rows.empty()) return "";
  return FormatTable({{"SESSION"}, {"OWNER"}, {"STATE"}, {"LEASE", Align::kRight}, {"GUEST"}},
                     rows);
}

}  // namespace

std::string DrawTop(const v1::Activity& activity, const std::string& server, TerminalSize size) {
  std::string text =
      fmt::format("builds: {} running, {} queued; sessions: {}{}  {}\n", activity.builds_running(),
                  activity.builds_queued(), activity.sessions_size(),
                  activity.draining() ? "; takes nothing new" : "", server);
  for (const std::string& table : {BuildTable(activity), SessionTable(activity)}) {
    if (!table.empty()) text += "\n" + table;
  }
  text.pop_back();
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  const auto rows = static_cast<std::size_t>(std::max(size.rows, 2));
  if (lines.size() > rows) {
    const std::size_t left = lines.size() - rows + 1;
    lines.resize(rows - 1);
    lines.push_back(fmt::format("... and {} lines more", left));
  }
  std::string screen;
  for (std::string& line : lines) {
    line.resize(std::min(line.size(), static_cast<std::size_t>(std::max(size.columns, 1))));
    screen += line + "\n";
  }
  return screen;
}

}  // namespace kdbg::client
