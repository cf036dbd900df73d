#include "server/session/monitor.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

#include "absl/strings/str_split.h"

namespace kdbg::session {
namespace {

constexpr int kInfoLines = 5;
constexpr int kConsoleLines = 20;
constexpr int kMostLines = 200;

constexpr std::string_view kHelp =
    "monitor info         this session: kernel, shape, lease, and the console's last lines\n"
    "monitor console [N]  the last N lines of the guest's console (20; at most 200)\n"
    "monitor reset        boots it anew, back to its stop point, while this gdb stays\n"
    "monitor pause        it stays halted when this gdb leaves, instead of running on\n"
    "monitor help         this\n"
    "To renew, share, save or dump it: kdbgctl session --help, beside this gdb.\n"
    "QEMU's own monitor is not reachable from gdb: it would be a console on the build host.\n";

std::vector<std::string> WordsOf(std::string_view command) {
  return absl::StrSplit(std::string(command), absl::ByAnyChar(" \t"), absl::SkipEmpty());
}

std::string Console(const MonitorFacts& facts, int lines) {
  std::string text = facts.console ? facts.console(lines) : std::string();
  if (text.empty()) return "the console is empty\n";
  if (!text.ends_with('\n')) text += '\n';
  return text;
}

std::string Info(const MonitorFacts& facts) {
  const SessionRecord& record = facts.record;
  std::string text = fmt::format(
      "session   {} of {}, {}\n"
      "kernel    builds/{}{}{}\n"
      "shape     {} vCPU, {} MiB, {}\n"
      "booted    {}\n"
      "lease     {} left\n",
      record.id, record.owner, ToString(record.state), record.request.kernel_build,
      record.request.initramfs_build.empty() ? "" : ", initramfs builds/",
      record.request.initramfs_build, record.request.vcpu_count, record.request.memory_mib,
      record.accelerator, record.command_line,
      absl::FormatDuration(
          absl::Trunc(std::max(facts.left, absl::ZeroDuration()), absl::Minutes(1))));
  if (record.failure) text += fmt::format("failure   {}\n", record.failure->message);
  for (const SessionShare& share : record.shares) {
    text += fmt::format("shared    with {}\n", share.user);
  }
  return text + "console\n" + Console(facts, kInfoLines);
}

}  // namespace

std::optional<MonitorRequest> ParseMonitorRequest(std::string_view command) {
  const std::vector<std::string> words = WordsOf(command);
  if (words == std::vector<std::string>{"reset"}) return MonitorRequest::kReset;
  if (words == std::vector<std::string>{"pause"}) return MonitorRequest::kPause;
  return std::nullopt;
}

std::string AnswerMonitor(std::string_view command, const MonitorFacts& facts) {
  const std::vector<std::string> words = WordsOf(command);
  if (words.size() == 1 && words[0] == "info") return Info(facts);
  if (!words.empty() && words[0] == "console" && words.size() <= 2) {
    int lines = kConsoleLines;
    if (words.size() == 2) {
      const std::string& number = words[1];
      const auto [end, error] =
          std::from_chars(number.data(), number.data() + number.size(), lines);
      if (error != std::errc() || end != number.data() + number.size() || lines < 1 ||
          lines > kMostLines) {
        return fmt::format("monitor console N: N is a number from 1 to {}\n", kMostLines);
      }
    }
    return Console(facts, lines);
  }
  const bool asks_for_help = words.empty() || (words.size() == 1 && words[0] == "help");
  return (asks_for_help ? "" : "kdbgd does not know that command.\n") + std::string(kHelp);
}

}  // namespace kdbg::session
