// One run of a guest from where it is to its stop point. Made for one run, driven by the thread
// that waits for it.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/contract/error.h"
#include "server/gdb/stub_link.h"
#include "server/guest/console_scanner.h"
#include "server/guest/guest.h"

namespace kdbg::guest {

class BootRun {
 public:
  BootRun(const GuestSpec& spec, vm::Hypervisor& hypervisor, gdb::StubLink& stub,
          ConsoleLog& console, absl::Duration timeout, std::stop_token cancel);

  // See Guest::RunToStopPoint.
  absl::StatusOr<StopReport> To(const StopPoint& stop);

 private:
  // Why waiting ended before the stub said that the guest halted.
  enum class Wake { kNone, kReady, kPanicked, kCancelled };

  absl::StatusOr<StopReport> ToSymbol(const std::string& symbol);
  absl::StatusOr<StopReport> ToMarker();
  absl::StatusOr<StopReport> ToFirstUserInstruction();
  // Runs until one of the addresses is reached; which CPU did. No breakpoint is left, whatever
  // happens.
  absl::StatusOr<std::string> RunTo(const std::vector<std::uint64_t>& addresses,
                                    std::string_view what);
  absl::StatusOr<gdb::StopReply> WaitHalted(std::string_view what);
  // The guest did not get there: says why and leaves it halted.
  absl::Status Fail(std::string_view what, const absl::StatusOr<gdb::StopReply>& stop);
  absl::Status GuestFailure(absl::StatusCode code, Reason reason, std::string_view message) const;
  void ReadConsole();
  Wake wake() const;

  const GuestSpec& spec_;
  vm::Hypervisor& hypervisor_;
  gdb::StubLink& stub_;
  ConsoleLog& console_;
  const absl::Time deadline_;
  const absl::Duration timeout_;

  mutable absl::Mutex mutex_;
  Wake wake_ ABSL_GUARDED_BY(mutex_) = Wake::kNone;
  std::int64_t console_offset_ ABSL_GUARDED_BY(mutex_);
  ConsoleScanner scanner_ ABSL_GUARDED_BY(mutex_);
  std::stop_source waiting_;
  std::stop_callback<std::function<void()>> on_cancel_;
  Subscription growth_;  // last: ends before what it uses
};

}  // namespace kdbg::guest
