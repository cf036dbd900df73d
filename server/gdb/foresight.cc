#include "server/gdb/foresight.h"

#include <fmt/format.h>

#include <algorithm>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "proto/rsp/hex.h"
#include "server/gdb/packet_filter.h"
#include "server/gdb/range_step.h"

namespace kdbg::gdb {
namespace {

constexpr std::uint64_t kReadBytes = 2048;  // QEMU's `m` gives at most so much
constexpr std::uint64_t kKernelStackBytes = 16384;
constexpr std::size_t kAskedPages = 4;
constexpr std::size_t kMostPagesAhead = 384;  // 1.5 MiB at a time
constexpr std::uint64_t kCodeAhead = 64;
constexpr int kMostThreads = 1024;
constexpr std::size_t kMostDescriptionParts = 64;

// What gdb 13 and lldb ask when they attach, whatever they find; the gateway's answer to each is
// the same for as long as the client stays.
constexpr std::string_view kAskedAtAttach[] = {"vMustReplyEmpty",
                                               "!",
                                               "qTStatus",
                                               "qOffsets",
                                               "qSymbol::",
                                               "qTfV",
                                               "qTfP",
                                               "qTsV",
                                               "Hc-1",
                                               "Hc0",
                                               "Hg0",
                                               "qAttached",
                                               "vCont?",
                                               "qTsP",
                                               "qHostInfo"};

std::string_view After(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start ? text.substr(start.size()) : std::string_view();
}

bool StartsWith(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// Questions whose asking changes nothing.
bool IsPure(std::string_view packet) {
  static constexpr std::string_view kStarts[] = {
      "g", "p", "T", "qC", "qThreadExtraInfo,", "qqemu.PhyMemMode"};
  return std::any_of(std::begin(kStarts), std::end(kStarts),
                     [&](std::string_view start) { return StartsWith(packet, start); });
}

bool IsLasting(std::string_view packet) {
  return StartsWith(packet, "qXfer:features:read:") || StartsWith(packet, "qAttached") ||
         packet == "vCont?";
}

struct MemoryRead {
  std::uint64_t address;
  std::uint64_t size;
};

std::optional<MemoryRead> ParseMemoryRead(std::string_view packet) {
  if (!StartsWith(packet, "m")) return std::nullopt;
  const std::size_t comma = packet.find(',');
  if (comma == std::string_view::npos) return std::nullopt;
  const auto address = rsp::ParseHexNumber(packet.substr(1, comma - 1));
  const auto size = rsp::ParseHexNumber(packet.substr(comma + 1));
  if (!address || !size || *size == 0 || *size > kReadBytes) return std::nullopt;
  return MemoryRead{*address, *size};
}

// The register `number` in an answer to `g`; all before it have 8 bytes.
std::optional<std::uint64_t> RegisterIn(const std::string& registers, int number) {
  const std::size_t at = static_cast<std::size_t>(number) * 16;
  if (registers.size() < at + 16) return std::nullopt;
  return rsp::ParseRegister(std::string_view(registers).substr(at, 16));
}

bool IsError(std::string_view reply) { return reply.empty() || reply[0] == 'E'; }

}  // namespace

Foresight::Foresight(std::shared_ptr<StubChannel> channel, std::function<void(Ahead)> tell)
    : channel_(std::move(channel)), tell_(std::move(tell)), ram_(channel_) {}

std::shared_ptr<Foresight> Foresight::MovedTo(std::shared_ptr<StubChannel> channel) {
  auto moved = std::make_shared<Foresight>(std::move(channel), tell_);
  moved->epoch_ = epoch_;
  moved->breakpoints_ = breakpoints_;
  Close();
  return moved;
}

template <typename Done>
void Foresight::Run(asio::awaitable<void> work, Done done) {
  asio::co_spawn(channel_->executor(), std::move(work),
                 [self = shared_from_this(), done = std::move(done)](std::exception_ptr) {
                   if (!self->closed_) done();
                 });
}

void Foresight::Attach(const StopReply& stop, std::string features, std::function<void()> done) {
  Run(CollectAttach(stop, std::move(features)), std::move(done));
}

void Foresight::BeforeRun(std::function<void(std::string)> done) {
  auto refusal = std::make_shared<std::string>();
  auto plant = [](Foresight* self, std::shared_ptr<std::string> result) -> asio::awaitable<void> {
    *result = co_await self->PlantBreakpoints();
  };
  BeginEpoch();
  Tell(NewAhead());
  Run(plant(this, refusal), [refusal, done = std::move(done)] { done(std::move(*refusal)); });
}

void Foresight::AfterRun(const StopReply& stop, std::function<void()> done) {
  BeginEpoch();
  thread_ = rsp::ParseHexNumber(stop.thread).value_or(0);
  auto collect = [](Foresight* self) -> asio::awaitable<void> {
    co_await self->LiftBreakpoints();
    Ahead ahead = self->NewAhead();
    co_await self->CollectStop(&ahead);
    self->Tell(std::move(ahead));
  };
  Run(collect(this), std::move(done));
}

void Foresight::Exchange(std::string payload, StubChannel::ReplyHandler done) {
  auto reply = std::make_shared<Answered>();
  Run(Serve(std::move(payload), [reply](Answered answered) { *reply = std::move(answered); }),
      [reply, done = std::move(done)] { done(std::move(*reply)); });
}

asio::awaitable<Answered> Foresight::AskStub(std::string packet) {
  if (closed_) co_return absl::CancelledError("the client has gone");
  co_return co_await Ask(channel_, std::move(packet));
}

void Foresight::BeginEpoch() {
  ++epoch_;
  ram_.Forget();
  read_ahead_.Forget();
  told_pages_.clear();
}

void Foresight::Tell(Ahead ahead) const {
  if (!closed_) tell_(std::move(ahead));
}

Ahead Foresight::NewAhead() const {
  return {.epoch = epoch_, .thread = thread_, .answers = {}, .memory = {}};
}

asio::awaitable<void> Foresight::CollectAttach(StopReply stop, std::string features) {
  BeginEpoch();
  thread_ = rsp::ParseHexNumber(stop.thread).value_or(0);
  Ahead ahead = NewAhead();
  ahead.answers.push_back({"qSupported", std::move(features), true});
  for (const std::string_view packet : kAskedAtAttach) {
    co_await CollectLasting(&ahead, std::string(packet));
  }
  co_await CollectDescription(&ahead);
  co_await CollectThreads(&ahead);
  const Answered why = co_await AskStub("?");
  if (why.ok()) ahead.answers.push_back({"?", *why, false});
  co_await CollectStop(&ahead);
  Tell(std::move(ahead));
}

asio::awaitable<void> Foresight::CollectLasting(Ahead* ahead, std::string packet) {
  if (JudgePacket(packet) == Verdict::kRefuse) {
    ahead->answers.push_back({std::move(packet), "", true});
    co_return;
  }
  const Answered reply = co_await AskStub(packet);
  if (!reply.ok()) co_return;
  ahead->answers.push_back(
      {packet,
       packet == "vCont?" && channel_->registers() != nullptr ? WithRangeStep(*reply) : *reply,
       true});
}

// The target description and what it includes, in the pieces in which gdb reads it.
asio::awaitable<void> Foresight::CollectDescription(Ahead* ahead) {
  const std::size_t piece = channel_->packet_size() - 5;  // as gdb counts
  std::vector<std::string> names = {"target.xml"};
  for (std::size_t i = 0; i < names.size() && i < kMostDescriptionParts; ++i) {
    std::string text;
    for (std::size_t parts = 0; parts < kMostDescriptionParts; ++parts) {
      const std::string packet =
          fmt::format("qXfer:features:read:{}:{:x},{:x}", names[i], text.size(), piece);
      const Answered reply = co_await AskStub(packet);
      if (!reply.ok() || IsError(*reply)) break;
      ahead->answers.push_back({packet, *reply, true});
      text += reply->substr(1);
      if ((*reply)[0] != 'm') break;
    }
    constexpr std::string_view kInclude = "<xi:include href=\"";
    for (std::size_t at = text.find(kInclude); at != std::string::npos;
         at = text.find(kInclude, at + 1)) {
      const std::size_t begin = at + kInclude.size();
      names.push_back(text.substr(begin, text.find('"', begin) - begin));
    }
  }
}

// The whole list in one answer: the stub gives one thread for each question and remembers where it
// is.
asio::awaitable<void> Foresight::CollectThreads(Ahead* ahead) {
  std::string threads;
  Answered reply = co_await AskStub("qfThreadInfo");
  for (int i = 0; i < kMostThreads && reply.ok() && StartsWith(*reply, "m"); ++i) {
    threads += (threads.empty() ? "m" : ",") + reply->substr(1);
    reply = co_await AskStub("qsThreadInfo");
  }
  if (threads.empty() || !reply.ok() || *reply != "l" ||
      threads.size() + 4 > channel_->packet_size()) {
    co_return;
  }
  ahead->answers.push_back({"qfThreadInfo", threads, true});
  ahead->answers.push_back({"qsThreadInfo", "l", true});
}

asio::awaitable<void> Foresight::CollectStop(Ahead* ahead) {
  for (const std::string& breakpoint : breakpoints_) {
    ahead->answers.push_back({"Z0," + breakpoint, "OK", false});
    ahead->answers.push_back({"z0," + breakpoint, "OK", false});
  }
  const Answered current = co_await AskStub("qC");
  if (current.ok()) ahead->answers.push_back({"qC", *current, false});
  const Answered registers = co_await AskStub("g");
  if (!registers.ok() || IsError(*registers)) co_return;
  ahead->answers.push_back({"g", *registers, false});
  co_await CollectPages(ahead, *registers);
}

// Where it executes, the stack from its top to the outermost frame, and what was asked for lately.
asio::awaitable<void> Foresight::CollectPages(Ahead* ahead, const std::string& registers) {
  if (channel_->registers() == nullptr) co_return;
  const auto pc = RegisterIn(registers, channel_->registers()->pc);
  const auto sp = RegisterIn(registers, channel_->registers()->sp);
  if (!pc || !sp) co_return;
  co_await AddPage(ahead, PageOf(*pc));
  co_await AddPage(ahead, PageOf(*pc + kCodeAhead));
  std::uint64_t page = PageOf(*sp);
  while (co_await AddPage(ahead, page)) {
    page += kPageBytes;
    if (page % kKernelStackBytes == 0) break;
  }
  for (const std::uint64_t asked : std::deque(asked_pages_)) co_await AddPage(ahead, asked);
}

asio::awaitable<bool> Foresight::AddPage(Ahead* ahead, std::uint64_t page) {
  if (closed_ || physical_memory_) co_return false;
  if (told_pages_.contains(page)) co_return read_ahead_.Has(page);
  const RamCheck::Kind kind = co_await ram_.Ask(thread_, page);
  if (kind == RamCheck::Kind::kUnmapped) {
    told_pages_.insert(page);
    ahead->memory.push_back({page, ""});
  }
  if (kind != RamCheck::Kind::kRam) co_return false;
  std::string bytes;
  while (bytes.size() < kPageBytes) {
    const Answered reply =
        co_await AskStub(fmt::format("m{:x},{:x}", page + bytes.size(), kReadBytes));
    const auto piece = reply.ok() ? rsp::HexDecode(*reply) : std::nullopt;
    if (!piece || piece->size() != kReadBytes) co_return false;
    bytes += *piece;
  }
  read_ahead_.Read(page, bytes);
  told_pages_.insert(page);
  ahead->memory.push_back({page, std::move(bytes)});
  co_return true;
}

asio::awaitable<void> Foresight::TellAround(std::uint64_t address, std::size_t size) {
  Ahead ahead = NewAhead();
  read_ahead_.Missed(address, size);
  while (ahead.memory.size() < kMostPagesAhead) {
    const std::optional<std::uint64_t> page = read_ahead_.Next();
    if (!page) break;
    if (!co_await AddPage(&ahead, *page)) read_ahead_.Refused(*page);
    if (closed_) co_return;
  }
  if (!told_pages_.contains(PageOf(address))) co_return;
  std::erase(asked_pages_, PageOf(address));
  asked_pages_.push_back(PageOf(address));
  if (asked_pages_.size() > kAskedPages) asked_pages_.pop_front();
  if (!ahead.empty()) Tell(std::move(ahead));
}

// Tried out, because a stub may refuse it, and taken away again until the guest runs.
asio::awaitable<std::string> Foresight::AnswerBreakpoint(std::string payload) {
  const std::string breakpoint = payload.substr(3);
  const bool known = breakpoints_.contains(breakpoint);
  if (payload[0] == 'z') {
    breakpoints_.erase(breakpoint);
    if (known) co_return "OK";
  } else if (known) {
    co_return "OK";
  }
  const Answered reply = co_await AskStub(payload);
  if (!reply.ok()) co_return "E01";
  if (payload[0] == 'z' || *reply != "OK") co_return *reply;
  const Answered lifted = co_await AskStub("z0," + breakpoint);
  if (lifted.ok() && *lifted == "OK") breakpoints_.insert(breakpoint);
  co_return *reply;
}

asio::awaitable<std::string> Foresight::PlantBreakpoints() {
  for (const std::string& breakpoint : std::set(breakpoints_)) {
    const Answered reply = co_await AskStub("Z0," + breakpoint);
    if (reply.ok() && *reply == "OK") continue;
    co_await LiftBreakpoints();
    co_return fmt::format("E.the breakpoint at {} can no longer be set: remove it", breakpoint);
  }
  co_return "";
}

asio::awaitable<void> Foresight::LiftBreakpoints() {
  for (const std::string& breakpoint : std::set(breakpoints_)) {
    (void)co_await AskStub("z0," + breakpoint);
  }
}

asio::awaitable<void> Foresight::Serve(std::string payload, StubChannel::ReplyHandler done) {
  if (StartsWith(payload, "Z0,") || StartsWith(payload, "z0,")) {
    done(co_await AnswerBreakpoint(payload));
    co_return;
  }
  const Answered reply = co_await AskStub(payload);
  done(reply);
  if (!reply.ok()) co_return;
  if (const auto read = ParseMemoryRead(payload)) {
    co_await TellAround(read->address, read->size);
    co_return;
  }
  // Reads of a shape we do not know, other breakpoints, and the thread list change nothing either.
  static constexpr std::string_view kNoChange[] = {"m",           "Z", "z", "Hc", "qfThreadInfo",
                                                   "qsThreadInfo"};
  const bool no_change = std::any_of(std::begin(kNoChange), std::end(kNoChange),
                                     [&](std::string_view s) { return StartsWith(payload, s); });
  if (no_change) co_return;
  Ahead ahead = NewAhead();
  if (IsPure(payload) || IsLasting(payload)) {
    ahead.answers.push_back({payload, *reply, IsLasting(payload)});
    Tell(std::move(ahead));
    co_return;
  }
  if (const std::string_view id = After(payload, "Hg"); !id.empty()) {
    const auto thread = rsp::ParseHexNumber(id);
    if (!thread || *thread == 0 || *thread == thread_ || *reply != "OK") co_return;
    thread_ = *thread;
    told_pages_.clear();
    read_ahead_.Forget();
  } else {
    BeginEpoch();
    if (payload == "?") breakpoints_.clear();
    if (payload[0] == 'Q') physical_memory_ = payload != "Qqemu.PhyMemMode:0";
  }
  ahead = NewAhead();
  co_await CollectStop(&ahead);
  Tell(std::move(ahead));
}

}  // namespace kdbg::gdb
