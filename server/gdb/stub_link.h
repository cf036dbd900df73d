// The one connection to a guest's gdb stub in QEMU, for callers that may wait. kdbgd opens it when
// the guest is made and keeps it for the guest's life; gdb clients are relayed over it (gateway.h)
// and never meet the stub themselves.
//
// Thread-safe; every call blocks until the stub has answered, so none is for the I/O thread. QEMU
// stops the guest on any byte sent while it runs, hence whatever pauses or continues it must come
// through here (or through a client of the Door), not through the hypervisor: this link would not
// know.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/subscribers.h"
#include "server/gdb/stop_reply.h"

namespace kdbg::gdb {

class IoThread;
class StubChannel;

enum class CpuState { kHalted, kRunning };

enum class BreakpointKind { kSoftware = 0, kHardware = 1 };

// Register numbers of the stub's descriptions, as far as kdbgd itself reads them.
namespace x86_64 {
inline constexpr int kRdi = 5, kRsi = 4, kRdx = 3, kRsp = 7, kRip = 16;
}
namespace aarch64 {
inline constexpr int kX0 = 0, kX1 = 1, kX2 = 2, kSp = 31, kPc = 32;
}

class StubLink {
 public:
  // Connecting pauses the guest and the handshake clears every breakpoint an earlier connection
  // left; then the guest is put back into `state`, which the caller has read from the hypervisor
  // before.
  //   UNAVAILABLE  kVmLost: nobody listens at `socket_path`, or it went away
  static absl::StatusOr<std::unique_ptr<StubLink>> Connect(
      IoThread& io_thread, const std::string& socket_path, CpuState state,
      absl::Duration timeout = absl::Seconds(10));
  // Closes the connection; the guest stays as it is.
  ~StubLink();
  StubLink(const StubLink&) = delete;
  StubLink& operator=(const StubLink&) = delete;

  // One packet and its answer; an answer "E.." is returned as it is.
  //   FAILED_PRECONDITION  kWrongState: the guest runs; Interrupt it first
  //   DEADLINE_EXCEEDED    no answer in time
  //   UNAVAILABLE          kVmLost
  // The calls below add INTERNAL for an answer that says the stub could not.
  absl::StatusOr<std::string> Request(std::string packet,
                                      absl::Duration timeout = absl::Seconds(10));

  absl::Status InsertBreakpoint(BreakpointKind kind, std::uint64_t address);
  absl::Status RemoveBreakpoint(BreakpointKind kind, std::uint64_t address);
  absl::StatusOr<std::string> ReadMemory(std::uint64_t address, std::size_t size);
  // As a number, of the first CPU; registers of up to 8 bytes.
  absl::StatusOr<std::uint64_t> ReadRegister(int number);

  // OK when it runs already.
  //   FAILED_PRECONDITION  kHolderBusy: a gdb is attached; it decides
  absl::Status Continue();
  // Halts the guest and returns why it halts; at once when it is halted. An attached gdb that waits
  // sees the stop.
  absl::StatusOr<StopReply> Interrupt(absl::Duration timeout = absl::Seconds(5));
  // Blocks until the guest is halted; at once when it is.
  //   DEADLINE_EXCEEDED, CANCELLED (by `cancel`): it still runs
  absl::StatusOr<StopReply> WaitStop(absl::Duration timeout, std::stop_token cancel = {});

  bool running() const;
  bool lost() const;

  // Called on the I/O thread: note it and return. A subscription made after the event does not see
  // it.
  [[nodiscard]] Subscription OnStop(std::function<void(const StopReply&)> listener);
  [[nodiscard]] Subscription OnLost(
      std::function<void()> listener);  // QEMU closed the connection: it is gone

  const std::shared_ptr<StubChannel>& channel() const { return channel_; }

 private:
  StubLink(IoThread& io_thread, std::shared_ptr<StubChannel> channel);
  absl::Status Expect(std::string packet, std::string_view what);

  IoThread& io_thread_;
  const std::shared_ptr<StubChannel> channel_;
};

}  // namespace kdbg::gdb
