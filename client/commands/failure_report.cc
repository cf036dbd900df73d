#include "client/commands/failure_report.h"

#include <fmt/format.h>

#include <sstream>

namespace kdbg::client {

std::string FailureReport(const std::string& name, const v1::Failure& failure) {
  std::string place;
  if (!failure.file().empty()) {
    place = failure.line() > 0 ? fmt::format("{}:{}: ", failure.file(), failure.line())
                               : fmt::format("{}: ", failure.file());
  }
  std::string report =
      fmt::format("kdbgctl: {} failed: {}{}{}\n", name, place, failure.message(),
                  failure.reason().empty() ? "" : fmt::format(" ({})", failure.reason()));
  std::istringstream lines(failure.excerpt());
  for (std::string line; std::getline(lines, line);) report += fmt::format("  | {}\n", line);
  if (failure.fault() == v1::Failure::FAULT_HOST) {
    report += "hint: this is the build host's trouble, not yours: trying again may help\n";
  }
  return report;
}

}  // namespace kdbg::client
