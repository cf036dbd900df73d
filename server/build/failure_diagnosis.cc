#include "server/build/failure_diagnosis.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <utility>

namespace kdbg::build {
namespace {

constexpr std::size_t kLinesBefore = 10;
constexpr int kLinesAfter = 10;
constexpr std::size_t kLongestLine = 400;

// Lines are bytes.
RE2::Options Latin1() {
  RE2::Options options;
  options.set_encoding(RE2::Options::EncodingLatin1);
  return options;
}

// An error in what -D on the command line put somewhere has no place; the note that follows says
// where the macro is used.
void PlaceByExpansion(const std::string& line, BuildFailure& failure) {
  static const RE2 kExpansion(R"(^(?:/src/)?([^ :]+):(\d+):\d+: note: in expansion of macro)");
  if (failure.reason != Reason::kCompileError || !failure.file.empty()) return;
  std::string file;
  int number = 0;
  if (!RE2::PartialMatch(line, kExpansion, &file, &number)) return;
  const std::size_t error = failure.message.find("error: ");
  if (error == std::string::npos) return;
  failure.file = std::move(file);
  failure.line = number;
  failure.message = fmt::format("does not compile: {}:{}: {}", failure.file, failure.line,
                                failure.message.substr(error));
}

// Without what only a terminal understands: excerpts are shown on one later, to somebody else.
std::string PlainText(std::string_view line) {
  static const RE2 kControl(R"(\x1b(?:\[[ -?]*[@-~]|[ -/]*[0-~])|[\x00-\x08\x0a-\x1f\x7f])",
                            Latin1());
  std::string text(line.substr(0, kLongestLine));
  RE2::GlobalReplace(&text, kControl, "");
  return text;
}

}  // namespace

void FailureDiagnosis::Line(std::string_view line) {
  const std::string kept = PlainText(line);
  Finding finding = ReadLine(kept);
  if (finding.weight > best_.weight) {
    best_ = std::move(finding);
    excerpt_.clear();
    for (const std::string& before : before_) excerpt_ += before + "\n";
    excerpt_ += kept + "\n";
    after_left_ = kLinesAfter;
  } else if (after_left_ > 0) {
    --after_left_;
    excerpt_ += kept + "\n";
    PlaceByExpansion(kept, best_.failure);
  }
  before_.push_back(kept);
  if (before_.size() > kLinesBefore) before_.pop_front();
}

BuildFailure FailureDiagnosis::Verdict() const {
  if (best_.weight != Weight::kNone) {
    BuildFailure failure = best_.failure;
    failure.excerpt = excerpt_;
    return failure;
  }
  BuildFailure failure;
  failure.fault = Fault::kSubject;
  failure.reason = Reason::kBuildFailed;
  failure.message = "make ended with an error that its output does not explain: read the log";
  for (const std::string& line : before_) failure.excerpt += line + "\n";
  return failure;
}

}  // namespace kdbg::build
