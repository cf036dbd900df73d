// Machines that exist only as records: what was asked for can be read back, and what a guest would
// do is done by hand.
//
// Thread-safe. Events go out on the thread that causes them.
#pragma once

#include <functional>
#include <map>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/base/subscribers.h"
#include "server/vm/hypervisor.h"

namespace kdbg {

// What a guest with shared memory has written into it when it is saved.
inline constexpr std::string_view kMemoryMark = "this machine has run";

class FakeHypervisor final : public vm::Hypervisor {
 public:
  // Called by CreatePaused, to make the files and sockets that a real one would. Called by Destroy,
  // likewise.
  std::function<absl::Status(const vm::DomainSpec&)> on_create;
  std::function<void(std::string_view name)> on_destroy;
  // Called by DumpMemory before it writes.
  std::function<void(std::string_view name)> on_dump;

  // From now on every call says this; OK ends it.
  void FailWith(absl::Status status);
  // As the guest itself would.
  void Panic(std::string_view name);
  void PowerOff(std::string_view name);
  // The event alone, of a machine that may have a successor.
  void TellStopped(std::string_view name);

  std::vector<vm::DomainSpec> created() const;  // all ever, oldest first
  // The states given to LoadState, oldest first.
  std::vector<std::string> loaded() const;
  // From now on; a state of another version is refused by LoadState, which ends the machine.
  void SetEmulatorVersion(std::string version);

  absl::Status CreatePaused(const vm::DomainSpec& spec) override;
  absl::Status Destroy(std::string_view name) override;
  absl::StatusOr<vm::DomainState> State(std::string_view name) override;
  absl::Status Suspend(std::string_view name) override;
  absl::Status Resume(std::string_view name) override;
  absl::StatusOr<std::vector<vm::OwnDomain>> ListOwn() override;
  // A state as QEMU makes them, of `name` halted at a breakpoint. With shared memory, the guest has
  // written kMemoryMark at its start.
  absl::Status SaveState(std::string_view name, const vm::StateChannel& channel, int file,
                         std::stop_token cancel) override;
  absl::Status LoadState(std::string_view name, const vm::StateChannel& channel, int file) override;
  // An empty ELF core and "elf memory of NAME", or "kdump memory of NAME".
  absl::Status DumpMemory(std::string_view name, vm::DumpFormat format,
                          const std::filesystem::path& file) override;
  absl::StatusOr<std::string> EmulatorVersion(Architecture architecture) override;
  [[nodiscard]] Subscription Subscribe(EventListener listener) override;
  std::string Uri() const override { return "fake:///"; }
  absl::Status Health() const override {
    absl::MutexLock lock(&mutex_);
    return failure_;
  }

 private:
  absl::Status Set(std::string_view name, vm::DomainState state, vm::DomainEvent::Kind kind);
  void Drop(std::string_view name, std::string_view detail);

  Subscribers<const vm::DomainEvent&> subscribers_;
  mutable absl::Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::vector<vm::DomainSpec> created_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> loaded_ ABSL_GUARDED_BY(mutex_);
  std::string version_ ABSL_GUARDED_BY(mutex_) = "7.2";
  std::map<std::string, vm::OwnDomain, std::less<>> domains_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg
