// Answers for a client that is far away, told before it asks. It may keep them until it is told of
// another epoch; what it is not told it must ask. So what may be kept is decided here alone, next
// to the stub, where a question costs microseconds.
//
// What makes a told answer true for the whole epoch:
//  - the guest is halted, and every run, write or other change through this client begins a new
//  epoch; nobody else may resume or write while a client is attached
//  - memory is told only of pages that QEMU says are RAM (RamCheck): reading them again gives the
//  same, reading more of them than asked has no effect
//  - software breakpoints are in the guest only while it runs: with KVM they are bytes in memory
//
// For the I/O thread; one call at a time, the next after `done`.
#pragma once

#include <asio/awaitable.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/gdb/ahead.h"
#include "server/gdb/ask.h"
#include "server/gdb/ram_check.h"
#include "server/gdb/read_ahead.h"
#include "server/gdb/stop_reply.h"
#include "server/gdb/stub_channel.h"

namespace kdbg::gdb {

class Foresight : public std::enable_shared_from_this<Foresight> {
 public:
  Foresight(std::shared_ptr<StubChannel> channel, std::function<void(Ahead)> tell);

  // For the same client at another guest: epochs go on, and its breakpoints are kept. This one is
  // closed.
  std::shared_ptr<Foresight> MovedTo(std::shared_ptr<StubChannel> channel);

  // The client has gone: the stub is not asked for its sake any more, and no `done` is called.
  void Close() { closed_ = true; }

  // Tells what a debugger asks when it attaches to a guest that halts like this. `features` is the
  // gateway's answer to qSupported.
  void Attach(const StopReply& stop, std::string features, std::function<void()> done);
  // Before the guest runs. `done` with what is to be answered instead of running; empty: run it.
  void BeforeRun(std::function<void(std::string refusal)> done);
  // The guest has halted: tells what a debugger asks then.
  void AfterRun(const StopReply& stop, std::function<void()> done);
  // A packet for the stub and its answer; what else is known by then has been told before.
  void Exchange(std::string payload, StubChannel::ReplyHandler done);

 private:
  template <typename Done>
  void Run(asio::awaitable<void> work, Done done);
  asio::awaitable<void> CollectAttach(StopReply stop, std::string features);
  asio::awaitable<void> CollectStop(Ahead* ahead);
  asio::awaitable<void> CollectPages(Ahead* ahead, const std::string& registers);
  asio::awaitable<void> CollectDescription(Ahead* ahead);
  asio::awaitable<void> CollectThreads(Ahead* ahead);
  asio::awaitable<void> CollectLasting(Ahead* ahead, std::string packet);
  asio::awaitable<std::string> PlantBreakpoints();
  asio::awaitable<void> LiftBreakpoints();
  asio::awaitable<std::string> AnswerBreakpoint(std::string payload);
  asio::awaitable<void> TellAround(std::uint64_t address, std::size_t size);
  asio::awaitable<bool> AddPage(Ahead* ahead, std::uint64_t page);
  asio::awaitable<void> Serve(std::string payload, StubChannel::ReplyHandler done);
  asio::awaitable<Answered> AskStub(std::string packet);
  void BeginEpoch();
  void Tell(Ahead ahead) const;
  Ahead NewAhead() const;

  const std::shared_ptr<StubChannel> channel_;
  const std::function<void(Ahead)> tell_;
  bool closed_ = false;
  std::int64_t epoch_ = 0;
  std::uint64_t thread_ = 0;      // as selected by the stub or by `Hg`
  bool physical_memory_ = false;  // `m` means physical addresses
  RamCheck ram_;
  ReadAhead read_ahead_;
  std::set<std::uint64_t> told_pages_;     // in this epoch
  std::deque<std::uint64_t> asked_pages_;  // lately, and likely again after the next stop
  std::set<std::string> breakpoints_;      // the client's software ones: "ffffffff81000000,1"
};

}  // namespace kdbg::gdb
