#include "server/gdb/range_step.h"

#include "proto/rsp/hex.h"

namespace kdbg::gdb {

std::optional<RangeStep> ParseRangeStep(std::string_view payload) {
  constexpr std::string_view kVcont = "vCont";
  if (payload.substr(0, kVcont.size()) != kVcont) return std::nullopt;
  std::string_view rest = payload.substr(kVcont.size());
  RangeStep step;
  step.packet = kVcont;
  bool found = false;
  while (!rest.empty()) {
    if (rest.front() != ';') return std::nullopt;
    rest.remove_prefix(1);
    const std::string_view action = rest.substr(0, rest.find(';'));
    rest.remove_prefix(action.size());
    if (action.substr(0, 1) != "r") {
      step.packet.append(";").append(action);
      continue;
    }
    const std::string_view range = action.substr(1, action.find(':') - 1);
    const std::size_t comma = range.find(',');
    if (found || comma == std::string_view::npos) return std::nullopt;
    const auto start = rsp::ParseHexNumber(range.substr(0, comma));
    const auto end = rsp::ParseHexNumber(range.substr(comma + 1));
    if (!start || !end) return std::nullopt;
    found = true;
    step.start = *start;
    step.end = *end;
    step.packet.append(";s").append(action.substr(1 + range.size()));
  }
  if (!found) return std::nullopt;
  return step;
}

std::string WithRangeStep(std::string_view vcont_answer) {
  std::string answer(vcont_answer);
  if (vcont_answer.substr(0, 6) == "vCont;") answer += ";r";
  return answer;
}

}  // namespace kdbg::gdb
