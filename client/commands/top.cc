#include "client/commands/top.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/commands/top_view.h"
#include "client/output/text.h"
#include "client/terminal/input_pump.h"
#include "client/terminal/raw_terminal.h"
#include "proto/support/unique_fd.h"

namespace kdbg::client {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(250);    // the most that is drawn
constexpr absl::Duration kClocks = absl::Seconds(1);         // times move although nothing happens
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l";  // another screen, no cursor
constexpr std::string_view kLeave = "\x1b[?25h\x1b[?1049l";
constexpr int kAnyRows = 1 << 20;
constexpr char kCtrlC = 3;

// The newest state, drawn by whoever has time.
class Screen {
 public:
  explicit Screen(std::string server) : server_(std::move(server)) {}

  void Set(const v1::Activity& activity) {
    absl::MutexLock lock(&mutex_);
    activity_ = activity;
    changed_ = true;
    if (absl::Now() - drawn_ >= kTick) Draw();
  }
  void Tick() {
    absl::MutexLock lock(&mutex_);
    if (activity_ && (changed_ || absl::Now() - drawn_ >= kClocks)) Draw();
  }

 private:
  void Draw() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const TerminalSize size = SizeOfTerminal(STDOUT_FILENO).value_or(TerminalSize());
    std::string text = DrawTop(*activity_, server_, size);
    text.pop_back();  // a line feed in the last row would scroll
    // Each line over what was there, then nothing below: no flicker.
    Output::Write(
        fmt::format("\x1b[H{}\x1b[K\x1b[J", absl::StrReplaceAll(text, {{"\n", "\x1b[K\r\n"}})));
    drawn_ = absl::Now();
    changed_ = false;
  }

  const std::string server_;
  absl::Mutex mutex_;
  std::optional<v1::Activity> activity_ ABSL_GUARDED_BY(mutex_);
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time drawn_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

bool IsLive(const Output& output) {
  const char* const terminal = std::getenv("TERM");
  const bool dumb = terminal == nullptr || std::string_view(terminal) == "dumb";
  return output.format() == Format::kTable && ::isatty(STDOUT_FILENO) != 0 && !dumb;
}

absl::Status Watch(Context& context, Server& server, bool follow,
                   const std::function<Next(const v1::Activity&)>& consume) {
  v1::WatchActivityRequest request;
  request.set_follow(follow);
  return Follow<v1::Activity>(
      server, context.interrupt(),
      [&](grpc::ClientContext* call) {
        return server.stub<v1::ServerService>().WatchActivity(call, request);
      },
      consume);
}

CommandEnd OneShot(Context& context, Server& server, const std::string& name) {
  std::optional<v1::Activity> activity;
  KDBG_RETURN_IF_ERROR(Watch(context, server, false, [&](const v1::Activity& now) {
    activity = now;
    return Next::kEnough;
  }));
  if (!activity) return absl::UnavailableError("the server said nothing: try again");
  switch (context.output().format()) {
    case Format::kJson:
      context.output().Resource(*activity, "", {});
      break;
    case Format::kName:
      for (const auto& build : activity->builds()) Output::Write(build.name() + "\n");
      for (const auto& session : activity->sessions()) Output::Write(session.name() + "\n");
      break;
    case Format::kTable:
      Output::Write(
          DrawTop(*activity, name, {.columns = TerminalSize().columns, .rows = kAnyRows}));
      break;
  }
  return kExitDone;
}

// Keys and the clock, until `stop`; who is done with looking interrupts the watch as Ctrl-C does.
void Attend(Screen& screen, const StopSignal& stop, int keyboard) {
  const UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  const timespec tick = absl::ToTimespec(kTick);
  const itimerspec period = {.it_interval = tick, .it_value = tick};
  ::timerfd_settime(timer.get(), 0, &period, nullptr);
  const auto on_key = [](std::string_view typed) {
    if (typed.find_first_of(std::string{'q', 'Q', kCtrlC}) == typed.npos) return true;
    ::kill(::getpid(), SIGINT);
    return false;
  };
  const auto on_tick = [&] {
    std::uint64_t count = 0;
    if (::read(timer.get(), &count, sizeof count) > 0) screen.Tick();
    return true;
  };
  PumpInput(keyboard, stop, on_key, {.fd = timer.get(), .readable = on_tick});
}

CommandEnd Live(Context& context, Server& server, std::string name) {
  Screen screen(std::move(name));
  std::optional<RawTerminal> raw;
  if (absl::StatusOr<RawTerminal> entered = RawTerminal::Enter(STDIN_FILENO); entered.ok()) {
    raw.emplace(*std::move(entered));
    raw->Watch(kEnter);
  }
  Output::Write(kEnter);
  StopSignal stop;
  std::thread attendant([&] { Attend(screen, stop, raw ? STDIN_FILENO : -1); });
  const absl::Status status = Watch(context, server, true, [&](const v1::Activity& now) {
    screen.Set(now);
    return Next::kGoOn;
  });
  stop.Set();
  attendant.join();
  Output::Write(kLeave);
  if (raw) raw->Watch(kLeave);
  raw.reset();
  // Whoever looked has seen enough.
  if (IsInterrupted(status)) return kExitDone;
  if (!status.ok()) return status;
  return absl::UnavailableError("the server ended the watch: try again");
}

}  // namespace

CommandEnd Top(Context& context) {
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  const std::string name = ToString(server->address());
  if (!IsLive(context.output())) return OneShot(context, *server, name);
  return Live(context, *server, name);
}

}  // namespace kdbg::client
