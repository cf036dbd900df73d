#include "server/guest/boot_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/guest/symbol_map.h"

namespace kdbg::guest {
namespace {

using gdb::BreakpointKind;

constexpr int kConsoleLines = 20;
// Signals by which QEMU's stub tells why the CPUs halted.
constexpr int kSignalQuit = 3;  // powered off, or about to reset
constexpr int kSignalTrap = 5;  // a breakpoint
// From a panic's first words on the console to the panic device halting the guest.
constexpr absl::Duration kPanicGrace = absl::Seconds(2);

std::string_view AwaitedMarker(const GuestSpec& spec) {
  return spec.ready_sign == ReadySign::kMarkerLine ? kReadyMarker : std::string_view();
}

absl::Status NotSupported(const GuestSpec& spec) {
  return MakeError(
      absl::StatusCode::kFailedPrecondition, Reason::kNotImplemented,
      fmt::format("stopping at the shell of an initramfs that was not built here works on x86_64 "
                  "with the kernel where System.map says, not on {}; use --stop-at none",
                  TraitsOf(spec.architecture).name),
      {{"method", "stop at shell"}});
}

}  // namespace

BootRun::BootRun(const GuestSpec& spec, vm::Hypervisor& hypervisor, gdb::StubLink& stub,
                 ConsoleLog& console, absl::Duration timeout, std::stop_token cancel)
    : spec_(spec),
      hypervisor_(hypervisor),
      stub_(stub),
      console_(console),
      deadline_(absl::Now() + timeout),
      timeout_(timeout),
      console_offset_(console.size()),  // what is there was printed by an earlier boot
      scanner_(AwaitedMarker(spec)),
      on_cancel_(std::move(cancel),
                 [this] {
                   {
                     absl::MutexLock lock(&mutex_);
                     wake_ = Wake::kCancelled;
                   }
                   waiting_.request_stop();
                 }),
      growth_(console.OnGrowth([this] { ReadConsole(); })) {}

absl::StatusOr<StopReport> BootRun::To(const StopPoint& stop) {
  if (const auto* symbol = std::get_if<StopAtSymbol>(&stop)) return ToSymbol(symbol->symbol);
  if (std::holds_alternative<StopAtReset>(stop)) {
    return StopReport{.cpu_state = StopReport::CpuState::kHalted, .stopped_at = "reset"};
  }
  if (std::holds_alternative<StopNowhere>(stop)) {
    KDBG_RETURN_IF_ERROR(stub_.Continue());
    return StopReport{.cpu_state = StopReport::CpuState::kRunning, .stopped_at = ""};
  }
  return spec_.ready_sign == ReadySign::kMarkerLine ? ToMarker() : ToFirstUserInstruction();
}

absl::StatusOr<StopReport> BootRun::ToSymbol(const std::string& symbol) {
  if (spec_.base_address == BaseAddress::kRandomized) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kFieldInvalid,
                     "a kernel at a random address cannot be stopped at a symbol; drop "
                     "randomize_base or stop at reset, shell or none",
                     {{"field", "stop_point.symbol"}, {"value", symbol}});
  }
  KDBG_ASSIGN_OR_RETURN(const std::uint64_t address, FindFunction(spec_.system_map, symbol));
  KDBG_RETURN_IF_ERROR(RunTo({address}, symbol).status());
  return StopReport{.cpu_state = StopReport::CpuState::kHalted, .stopped_at = symbol};
}

absl::StatusOr<StopReport> BootRun::ToMarker() {
  KDBG_RETURN_IF_ERROR(stub_.Continue());
  const absl::StatusOr<gdb::StopReply> halted = WaitHalted("the shell");
  if (wake() != Wake::kReady) {
    if (!halted.ok()) return halted.status();
    return Fail("the shell", *halted);
  }
  if (!halted.ok()) KDBG_RETURN_IF_ERROR(stub_.Interrupt().status());
  return StopReport{.cpu_state = StopReport::CpuState::kHalted, .stopped_at = "shell"};
}

// The kernel is first brought to the point where it is about to run init, so that no helper it
// starts earlier is taken for it; start_thread's second argument is then where user space begins.
absl::StatusOr<StopReport> BootRun::ToFirstUserInstruction() {
  if (spec_.architecture != Architecture::kX86_64 ||
      spec_.base_address == BaseAddress::kRandomized) {
    return NotSupported(spec_);
  }
  KDBG_ASSIGN_OR_RETURN(const std::uint64_t before_init,
                        FindFunction(spec_.system_map, "rcu_end_inkernel_boot"));
  KDBG_ASSIGN_OR_RETURN(const std::uint64_t start_thread,
                        FindFunction(spec_.system_map, "start_thread"));
  std::vector<std::uint64_t> starts = {start_thread};
  if (auto compat = FindFunction(spec_.system_map, "compat_start_thread"); compat.ok()) {
    starts.push_back(*compat);
  }
  KDBG_RETURN_IF_ERROR(RunTo({before_init}, "the start of init").status());
  KDBG_ASSIGN_OR_RETURN(const std::string cpu, RunTo(starts, "the start of init"));
  if (!cpu.empty()) KDBG_RETURN_IF_ERROR(stub_.Request("Hg" + cpu).status());
  KDBG_ASSIGN_OR_RETURN(const std::uint64_t entry, stub_.ReadRegister(gdb::x86_64::kRsi));
  KDBG_RETURN_IF_ERROR(RunTo({entry}, "user space").status());
  return StopReport{.cpu_state = StopReport::CpuState::kHalted, .stopped_at = "shell"};
}

absl::StatusOr<std::string> BootRun::RunTo(const std::vector<std::uint64_t>& addresses,
                                           std::string_view what) {
  for (std::uint64_t address : addresses) {
    KDBG_RETURN_IF_ERROR(stub_.InsertBreakpoint(BreakpointKind::kHardware, address));
  }
  absl::Status run = stub_.Continue();
  absl::StatusOr<gdb::StopReply> halted = run.ok() ? WaitHalted(what) : run;
  for (std::uint64_t address : addresses) {
    // Fails only where the guest is gone, and its breakpoints with it.
    stub_.RemoveBreakpoint(BreakpointKind::kHardware, address).IgnoreError();
  }
  KDBG_RETURN_IF_ERROR(halted.status());
  if (halted->signal != kSignalTrap) return Fail(what, *halted);
  return halted->thread;
}

absl::StatusOr<gdb::StopReply> BootRun::WaitHalted(std::string_view what) {
  absl::StatusOr<gdb::StopReply> halted =
      stub_.WaitStop(deadline_ - absl::Now(), waiting_.get_token());
  if (!halted.ok() && wake() == Wake::kPanicked) halted = stub_.WaitStop(kPanicGrace);
  if (halted.ok() && halted->kind == gdb::StopReply::Kind::kSignal) return halted;
  if (wake() == Wake::kReady) return halted.ok() ? absl::CancelledError() : halted.status();
  return Fail(what, halted);
}

absl::Status BootRun::Fail(std::string_view what, const absl::StatusOr<gdb::StopReply>& stop) {
  if (stub_.running()) stub_.Interrupt().IgnoreError();
  ReadConsole();  // the panic device may have been faster than the log's wake-up
  const Wake woken = wake();
  if (woken == Wake::kCancelled) {
    return absl::CancelledError(fmt::format("given up before {} was reached", what));
  }
  const absl::StatusOr<vm::DomainState> state =
      hypervisor_.State(std::string(vm::kDomainPrefix) + spec_.id);
  if (woken == Wake::kPanicked || (state.ok() && *state == vm::DomainState::kCrashed)) {
    return GuestFailure(absl::StatusCode::kAborted, Reason::kGuestPanicked,
                        fmt::format("the kernel panicked before {} was reached; its last console "
                                    "lines say why",
                                    what));
  }
  // The hypervisor notices up to seconds later; the stub is QEMU's own and tells first.
  if (stub_.lost() || (stop.ok() && stop->signal == kSignalQuit)) {
    return GuestFailure(absl::StatusCode::kAborted, Reason::kGuestExited,
                        fmt::format("the guest powered off, reset or died before {} was reached; "
                                    "its last console lines may say why",
                                    what));
  }
  if (absl::IsDeadlineExceeded(stop.status())) {
    return GuestFailure(
        absl::StatusCode::kDeadlineExceeded, Reason::kBootTimedOut,
        fmt::format("{} was not reached within {}; see the console, or stop earlier", what,
                    absl::FormatDuration(timeout_)));
  }
  if (!stop.ok()) return stop.status();
  return GuestFailure(absl::StatusCode::kAborted, Reason::kVmLost,
                      fmt::format("the guest was halted by something else before {} was reached; "
                                  "create the session again",
                                  what));
}

absl::Status BootRun::GuestFailure(absl::StatusCode code, Reason reason,
                                   std::string_view message) const {
  return MakeError(code, reason, message, {{"console", console_.LastLines(kConsoleLines)}});
}

void BootRun::ReadConsole() {
  constexpr std::size_t kChunk = 65536;
  bool wake = false;
  {
    absl::MutexLock lock(&mutex_);
    while (true) {
      console_offset_ = std::max(console_offset_, console_.oldest_offset());
      const absl::StatusOr<std::string> bytes = console_.Read(console_offset_, kChunk);
      if (!bytes.ok() || bytes->empty()) break;
      console_offset_ += static_cast<std::int64_t>(bytes->size());
      scanner_.Feed(*bytes);
    }
    if (wake_ == Wake::kNone && (scanner_.ready() || scanner_.panicked())) {
      wake_ = scanner_.ready() ? Wake::kReady : Wake::kPanicked;
      wake = true;
    }
  }
  if (wake) waiting_.request_stop();
}

BootRun::Wake BootRun::wake() const {
  absl::MutexLock lock(&mutex_);
  return wake_;
}

}  // namespace kdbg::guest
