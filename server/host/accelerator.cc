#include "server/host/accelerator.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#if defined(__x86_64__)
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "proto/support/unique_fd.h"
#include "server/host/kvm_probe_rom.h"

namespace kdbg::host {
namespace {

class Mapping {
 public:
  Mapping(int fd, std::size_t size) : size_(size) {
    const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (mapped != MAP_FAILED) data_ = static_cast<std::uint8_t*>(mapped);
  }
  ~Mapping() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::uint8_t* data() const { return data_; }

 private:
  const std::size_t size_;
  std::uint8_t* data_ = nullptr;
};

// kvm_cpuid2 and kvm_signal_mask end in a flexible array, which linux/kvm.h spells so that in C++
// the array is shifted and the structure, whose size is part of the ioctl's number, larger. These
// are laid out as in C.
constexpr std::uint32_t kCpuidEntries = 256;
struct CpuidTable {
  std::uint32_t entry_count = kCpuidEntries;
  std::uint32_t padding = 0;
  kvm_cpuid_entry2 entries[kCpuidEntries] = {};
};
constexpr unsigned long kGetSupportedCpuid = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, 8);
constexpr unsigned long kSetCpuid = _IOC(_IOC_WRITE, KVMIO, 0x90, 8);

struct SignalMask {
  std::uint32_t length = 8;
  std::uint8_t blocked[8] = {};
};
constexpr unsigned long kSetSignalMask = _IOC(_IOC_WRITE, KVMIO, 0x8b, 4);

// The test guest and what became of it. Shared with the thread it runs on, which may get stuck in
// the kernel.
struct Probe {
  UniqueFd kvm;
  UniqueFd vm;
  UniqueFd cpu;
  std::unique_ptr<Mapping> memory;
  std::unique_ptr<Mapping> run;
  absl::Notification done;
  // The last it said; written before `done`.
  std::atomic<std::uint32_t> reached = 0;
  std::string trouble;

  kvm_run* Run() const { return reinterpret_cast<kvm_run*>(run->data()); }
};

std::string Failed(std::string_view what) {
  return fmt::format("{} failed: {}", what, std::strerror(errno));
}

// One CPU in real mode at the ROM, with an interrupt controller in the kernel. Empty, or what went
// wrong.
std::string SetUp(Probe& probe) {
  probe.kvm = UniqueFd(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!probe.kvm && errno == ENOENT) return "there is no /dev/kvm";
  if (!probe.kvm && (errno == EACCES || errno == EPERM)) {
    return "no permission to open /dev/kvm: add this user to the group that owns it";
  }
  if (!probe.kvm) return Failed("opening /dev/kvm");
  if (::ioctl(probe.kvm.get(), KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
    return "/dev/kvm speaks another version of its protocol";
  }
  probe.vm = UniqueFd(::ioctl(probe.kvm.get(), KVM_CREATE_VM, 0));
  if (!probe.vm) return Failed("making a virtual machine");
  if (::ioctl(probe.vm.get(), KVM_SET_TSS_ADDR, 0xfffbd000UL) != 0 ||
      ::ioctl(probe.vm.get(), KVM_CREATE_IRQCHIP, 0) != 0) {
    return Failed("making an interrupt controller");
  }
  probe.memory = std::make_unique<Mapping>(-1, kProbeRomMemory);
  if (probe.memory->data() == nullptr) return Failed("mapping memory");
  const std::span<const std::uint8_t> rom = ProbeRom();
  std::memcpy(probe.memory->data() + kProbeRomAddress, rom.data(), rom.size());
  kvm_userspace_memory_region region{};
  region.memory_size = kProbeRomMemory;
  region.userspace_addr = reinterpret_cast<std::uintptr_t>(probe.memory->data());
  if (::ioctl(probe.vm.get(), KVM_SET_USER_MEMORY_REGION, &region) != 0) {
    return Failed("giving it memory");
  }
  probe.cpu = UniqueFd(::ioctl(probe.vm.get(), KVM_CREATE_VCPU, 0));
  if (!probe.cpu) return Failed("making a CPU");
  const int run_size = ::ioctl(probe.kvm.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_size < static_cast<int>(sizeof(kvm_run))) return Failed("mapping a CPU");
  probe.run = std::make_unique<Mapping>(probe.cpu.get(), static_cast<std::size_t>(run_size));
  return probe.run->data() == nullptr ? Failed("mapping a CPU") : "";
}

std::string SetRegisters(Probe& probe) {
  // What long mode needs of CPUID is what the host supports.
  const auto cpuid = std::make_unique<CpuidTable>();
  if (::ioctl(probe.kvm.get(), kGetSupportedCpuid, cpuid.get()) != 0 ||
      ::ioctl(probe.cpu.get(), kSetCpuid, cpuid.get()) != 0) {
    return Failed("setting CPUID");
  }
  kvm_sregs system{};
  if (::ioctl(probe.cpu.get(), KVM_GET_SREGS, &system) != 0) return Failed("reading registers");
  system.cs.base = 0;
  system.cs.selector = 0;
  kvm_regs registers{};
  registers.rip = kProbeRomAddress;
  registers.rflags = 2;
  if (::ioctl(probe.cpu.get(), KVM_SET_SREGS, &system) != 0 ||
      ::ioctl(probe.cpu.get(), KVM_SET_REGS, &registers) != 0) {
    return Failed("setting registers");
  }
  return "";
}

// SIGUSR1 gets the CPU out of the guest: blocked in this thread but let through while the guest
// runs, it needs no handler and goes with the thread.
void RunGuest(Probe& probe) {
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  SignalMask mask;
  const std::uint64_t blocked = ~(std::uint64_t{1} << (SIGUSR1 - 1));
  std::memcpy(mask.blocked, &blocked, sizeof(blocked));
  if (::ioctl(probe.cpu.get(), kSetSignalMask, &mask) != 0) {
    probe.trouble = Failed("setting the signal mask");
    return;
  }
  while (probe.reached != kProbeRomInterrupt) {
    if (::ioctl(probe.cpu.get(), KVM_RUN, 0) != 0) {
      if (errno != EINTR) probe.trouble = Failed("running the CPU");
      return;
    }
    const kvm_run& run = *probe.Run();
    if (run.exit_reason != KVM_EXIT_IO || run.io.port != kProbeRomPort) {
      probe.trouble = fmt::format("the CPU left the guest for reason {}", run.exit_reason);
      return;
    }
    std::uint32_t value = 0;
    std::memcpy(&value, probe.run->data() + run.io.data_offset, sizeof(value));
    probe.reached = value;
  }
}

std::string_view HowFar(std::uint32_t reached) {
  switch (reached) {
    case kProbeRomLongMode:
      return "a test guest runs 64-bit code, but far slower than TCG";
    case kProbeRomWorked:
      return "a test guest runs 64-bit code, but gets no interrupt";
    default:
      return "a test guest never reaches 64-bit code";
  }
}

}  // namespace

KvmProbe ProbeKvm(absl::Duration deadline) {
  auto probe = std::make_shared<Probe>();
  std::string trouble = SetUp(*probe);
  if (trouble.empty()) trouble = SetRegisters(*probe);
  if (!trouble.empty()) return {.usable = false, .reason = trouble};
  const absl::Time start = absl::Now();
  std::thread cpu([probe] {
    RunGuest(*probe);
    probe->done.Notify();
  });
  bool ended = probe->done.WaitForNotificationWithTimeout(deadline);
  if (!ended) {
    probe->Run()->immediate_exit = 1;
    ::pthread_kill(cpu.native_handle(), SIGUSR1);
    ended = probe->done.WaitForNotificationWithTimeout(absl::Seconds(1));
  }
  if (!ended) {
    cpu.detach();  // stuck in the kernel; it holds what it uses
    return {.usable = false, .reason = "a test guest hangs and cannot even be stopped"};
  }
  cpu.join();
  if (probe->reached == kProbeRomInterrupt) {
    return {.usable = true,
            .reason = fmt::format("a test guest ran 64-bit code and took an interrupt in {}",
                                  absl::FormatDuration(absl::Now() - start))};
  }
  const std::string_view reached = HowFar(probe->reached);
  return {.usable = false,
          .reason = probe->trouble.empty()
                        ? fmt::format("{} (given {})", reached, absl::FormatDuration(deadline))
                        : fmt::format("{}: {}", reached, probe->trouble)};
}

}  // namespace kdbg::host

#else

namespace kdbg::host {

KvmProbe ProbeKvm(absl::Duration) {
  return {.usable = false, .reason = "the probe of KVM is written for x86-64 hosts only"};
}

}  // namespace kdbg::host

#endif
