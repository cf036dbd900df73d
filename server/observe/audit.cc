#include "server/observe/audit.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/uio.h>
#define SD_JOURNAL_SUPPRESS_LOCATION  // where it was written says nothing of an action
#include <systemd/sd-journal.h>

#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "server/observe/log.h"

namespace kdbg::observe {
namespace {

// By which journalctl finds all of them: kdbgd(8) names it.
constexpr std::string_view kMessageId = "7d6f3c1e0b6a4f0f9a3f5d1b0c7e2a94";
constexpr std::size_t kMaximumValue = 256;
constexpr std::size_t kMaximumResources = 8;
constexpr int kNotice = 5;   // syslog's
constexpr int kWarning = 4;  // likewise

// On one line, and not longer than it has to be.
std::string Clean(std::string_view value) {
  std::string clean = absl::Utf8SafeCHexEscape({value.data(), value.size()});
  if (clean.size() > kMaximumValue) clean = clean.substr(0, kMaximumValue) + "...";
  return clean;
}

// "builds/b-7" is BUILD=b-7.
std::string FieldOf(std::string_view resource) {
  const std::size_t slash = resource.find('/');
  const std::string collection(resource.substr(0, slash));
  const std::string_view id = resource.substr(slash + 1);
  // Whom it was about; who did it is USER.
  if (collection == "users") return fmt::format("ACCOUNT={}", Clean(id));
  const std::string one = collection.substr(0, collection.find_last_not_of('s') + 1);
  return fmt::format("{}={}", absl::AsciiStrToUpper(one), Clean(id));
}

class JournalAudit final : public AuditSink {
 public:
  void Write(const AuditRecord& record) override {
    const std::vector<std::string> fields = JournalFields(record);
    std::vector<iovec> parts;
    for (const std::string& field : fields) {
      parts.push_back({const_cast<char*>(field.data()), field.size()});
    }
    if (::sd_journal_sendv(parts.data(), static_cast<int>(parts.size())) == 0) return;
    spdlog::error("the journal did not take: {}", ToLine(record));
  }
};

// A logger of its own: what is audited does not depend on the level of the log.
class LogAudit final : public AuditSink {
 public:
  LogAudit() : logger_(spdlog::default_logger()->clone("audit")) {
    logger_->set_level(spdlog::level::info);
  }
  void Write(const AuditRecord& record) override { logger_->info(ToLine(record)); }

 private:
  const std::shared_ptr<spdlog::logger> logger_;
};

}  // namespace

std::string ToLine(const AuditRecord& record) {
  std::string line =
      fmt::format("audit: {} by {} from {}: {}", Clean(record.action),
                  record.user.empty() ? "nobody known" : Clean(record.user),
                  record.from.empty() ? "somewhere" : Clean(record.from), Clean(record.result));
  std::size_t count = 0;
  for (const std::string& resource : record.resources) {
    if (++count > kMaximumResources) break;
    line += fmt::format(" {}", Clean(resource));
  }
  if (!record.request.empty()) line += fmt::format(" request {}", Clean(record.request));
  if (!record.why.empty()) line += fmt::format(": {}", Clean(record.why));
  return line;
}

std::vector<std::string> JournalFields(const AuditRecord& record) {
  const bool done = record.result == "OK";
  std::vector<std::string> fields = {fmt::format("MESSAGE={}", ToLine(record)),
                                     fmt::format("MESSAGE_ID={}", kMessageId),
                                     fmt::format("PRIORITY={}", done ? kNotice : kWarning),
                                     "SYSLOG_IDENTIFIER=kdbgd",
                                     fmt::format("ACTION={}", Clean(record.action)),
                                     fmt::format("RESULT={}", Clean(record.result))};
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) fields.push_back(fmt::format("{}={}", name, Clean(value)));
  };
  add("USER", record.user);
  add("FROM", record.from);
  add("REQUEST", record.request);
  std::size_t count = 0;
  for (const std::string& resource : record.resources) {
    if (++count > kMaximumResources) break;
    fields.push_back(FieldOf(resource));
  }
  return fields;
}

std::unique_ptr<AuditSink> OpenAudit() {
  if (StderrIsTheJournal()) return std::make_unique<JournalAudit>();
  return std::make_unique<LogAudit>();
}

}  // namespace kdbg::observe
