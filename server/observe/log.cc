#include "server/observe/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace kdbg::observe {

// A shell hands the variable on to what it starts on a terminal: it counts where it names our
// stderr.
bool StderrIsTheJournal() {
  const char* const stream = std::getenv("JOURNAL_STREAM");
  struct stat status = {};
  return stream != nullptr && ::fstat(STDERR_FILENO, &status) == 0 &&
         fmt::format("{}:{}", status.st_dev, status.st_ino) == stream;
}

absl::Status StartLog(std::string_view level) {
  const spdlog::level::level_enum parsed = spdlog::level::from_str(std::string(level));
  if (parsed == spdlog::level::off && level != "off") {
    return absl::InvalidArgumentError(
        fmt::format("log level '{}' is none of debug, info, warning, error", level));
  }
  auto logger = std::make_shared<spdlog::logger>(
      "kdbgd", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  // The journal stamps lines itself.
  logger->set_pattern(StderrIsTheJournal() ? "%l %v" : "%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");
  logger->set_level(parsed);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
  return absl::OkStatus();
}

}  // namespace kdbg::observe
