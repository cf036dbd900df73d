// What gdb's `monitor COMMAND` is answered with. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "server/session/session_record.h"

namespace kdbg::session {

struct MonitorFacts {
  SessionRecord record;
  absl::Duration left;                            // of the lease
  std::function<std::string(int lines)> console;  // the last lines; absent: there is none
};

// What takes more than an answer.
enum class MonitorRequest { kReset, kPause };
std::optional<MonitorRequest> ParseMonitorRequest(std::string_view command);

// Every other command. Always some text that ends a line: gdb prints it as it is.
std::string AnswerMonitor(std::string_view command, const MonitorFacts& facts);

}  // namespace kdbg::session
