#include "client/output/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "client/output/text.h"
#include "client/terminal/raw_terminal.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

constexpr absl::Duration kPlainInterval = absl::Seconds(10);
constexpr int kBarWidth = 20;

void ToStderr(std::string_view text) { (void)WriteAll(STDERR_FILENO, text); }

}  // namespace

Progress::Style Progress::StyleFor(const Output& output) {
  if (output.quiet()) return Style::kNone;
  const char* terminal = std::getenv("TERM");
  const bool dumb = terminal == nullptr || std::string_view(terminal) == "dumb";
  return ::isatty(STDERR_FILENO) != 0 && !dumb ? Style::kLive : Style::kPlain;
}

Progress::Progress(const Output& output) : style_(StyleFor(output)) {
  if (style_ == Style::kLive) ticker_ = std::thread([this] { Tick(); });
}

Progress::~Progress() {
  {
    absl::MutexLock lock(&mutex_);
    Erase();
    ended_ = true;
  }
  if (ticker_.joinable()) ticker_.join();
}

void Progress::SetStart(absl::Time start) {
  absl::MutexLock lock(&mutex_);
  start_ = start;
}

void Progress::Update(const std::string& phase, const std::string& detail) {
  absl::MutexLock lock(&mutex_);
  const bool new_phase = phase != phase_;
  phase_ = phase;
  detail_ = detail;
  if (style_ == Style::kLive) return Draw();
  if (style_ == Style::kNone) return;
  if (!new_phase && absl::Now() - last_plain_ < kPlainInterval) return;
  last_plain_ = absl::Now();
  ToStderr(fmt::format("{}{}{}\n", phase_, detail_.empty() ? "" : " ", detail_));
}

void Progress::Clear() {
  absl::MutexLock lock(&mutex_);
  Erase();
  phase_.clear();
}

void Progress::Tick() {
  absl::MutexLock lock(&mutex_);
  const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ended_; };
  while (!mutex_.AwaitWithTimeout(absl::Condition(&ended), absl::Milliseconds(200))) {
    if (shown_) Draw();
  }
}

void Progress::Draw() {
  const int columns = SizeOfTerminal(STDERR_FILENO).value_or(TerminalSize()).columns;
  std::string line = fmt::format("{}{}{}  {}", phase_, detail_.empty() ? "" : " ", detail_,
                                 Elapsed(absl::Now() - start_));
  line.resize(std::min(line.size(), static_cast<std::size_t>(std::max(columns - 1, 1))));
  ToStderr(fmt::format("\r{}\x1b[K", line));
  shown_ = true;
}

void Progress::Erase() {
  if (shown_) ToStderr("\r\x1b[K");
  shown_ = false;
}

std::string Bar(std::int64_t done, std::int64_t expected) {
  if (expected <= 0) return "";
  const auto filled =
      static_cast<int>(std::clamp<std::int64_t>(done * kBarWidth / expected, 0, kBarWidth));
  return fmt::format("[{:#<{}}{:.<{}}]", "", filled, "", kBarWidth - filled);
}

}  // namespace kdbg::client
