// A gdb stub on a unix socket with the manners of QEMU 7.2's, bad ones included: connecting halts
// the guest, and so does any byte while it runs; half a packet of a dead client stays in its
// parser; `?` drops all breakpoints; `k` ends it.
//
// Thread-safe; serves one connection at a time on a thread of its own.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/support/unique_fd.h"

namespace kdbg {

// A guest behind the stub, called on the stub's thread.
class StubGuest {
 public:
  virtual ~StubGuest() = default;
  // The packets that answer `packet`.
  virtual std::vector<std::string> Answer(const std::string& packet) = 0;
  // Runs it, and the stop reply; empty: it runs until it is interrupted.
  virtual std::string Run(const std::string& packet) = 0;
};

class FakeStub {
 public:
  explicit FakeStub(std::string socket_path);
  ~FakeStub();

  void SetRunning(bool running);    // as started or stopped by the hypervisor
  void HitOnContinue(bool hit);     // a continue with a breakpoint set stops there at once
  void RefuseToStart(bool refuse);  // a continue is acknowledged and has no effect
  void Mute(bool mute);             // swallow requests unanswered
  void SetReply(std::string packet, std::string reply);
  void SetGuest(StubGuest* guest);  // who answers from now on, instead of the little below
  void HitBreakpoint();             // T05, if running
  void SendRaw(std::string bytes);  // whatever to the client
  void Die();                       // as QEMU killed

  bool running() const;
  bool ended() const;                         // by `k`
  std::set<std::string> breakpoints() const;  // "1,ffffffff81000000,1"
  std::vector<std::string> packets() const;   // payloads executed, oldest first
  int stray_bytes() const;                    // bytes other than 0x03 received while running
  int naks() const;
  // Until it is so; false after `timeout`.
  bool WaitRunning(bool running, absl::Duration timeout = absl::Seconds(5)) const;
  bool WaitForPacket(std::string_view payload, absl::Duration timeout = absl::Seconds(5)) const;

 private:
  enum class Parse { kIdle, kLine, kEscape, kSumHigh, kSumLow };

  void Serve();
  void Read(char byte) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Execute(const std::string& payload) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string Answer(const std::string& payload) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Stop(std::string_view signal) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Send(std::string_view payload) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Write(std::string_view bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Wake();

  const UniqueFd listener_;
  const UniqueFd wake_;
  mutable absl::Mutex mutex_;
  UniqueFd client_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool dead_ ABSL_GUARDED_BY(mutex_) = false;
  bool hit_on_continue_ ABSL_GUARDED_BY(mutex_) = false;
  bool refuse_to_start_ ABSL_GUARDED_BY(mutex_) = false;
  bool mute_ ABSL_GUARDED_BY(mutex_) = false;
  int stray_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int naks_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string unacknowledged_ ABSL_GUARDED_BY(mutex_);
  Parse parse_ ABSL_GUARDED_BY(mutex_) = Parse::kIdle;
  std::string line_ ABSL_GUARDED_BY(mutex_);
  unsigned sum_ ABSL_GUARDED_BY(mutex_) = 0;
  int received_sum_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<std::string> breakpoints_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> packets_ ABSL_GUARDED_BY(mutex_);
  StubGuest* guest_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::map<std::string, std::string> replies_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace kdbg
