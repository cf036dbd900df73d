#include "tests/support/fake_hypervisor.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"

namespace kdbg {

using vm::DomainEvent;
using vm::DomainState;

void FakeHypervisor::FailWith(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  failure_ = std::move(status);
}

void FakeHypervisor::Panic(std::string_view name) {
  Set(name, DomainState::kCrashed, DomainEvent::Kind::kPanicked).IgnoreError();
}

void FakeHypervisor::PowerOff(std::string_view name) { Drop(name, "shutdown"); }

void FakeHypervisor::TellStopped(std::string_view name) {
  subscribers_.Notify(DomainEvent{
      .name = std::string(name), .kind = DomainEvent::Kind::kStopped, .detail = "destroyed"});
}

std::vector<vm::DomainSpec> FakeHypervisor::created() const {
  absl::MutexLock lock(&mutex_);
  return created_;
}

absl::Status FakeHypervisor::CreatePaused(const vm::DomainSpec& spec) {
  {
    absl::MutexLock lock(&mutex_);
    KDBG_RETURN_IF_ERROR(failure_);
    if (domains_.contains(spec.name)) return absl::AlreadyExistsError(spec.name);
    created_.push_back(spec);
    domains_[spec.name] = {.name = spec.name,
                           .uuid = fmt::format("00000000-0000-0000-0000-{:012}", created_.size()),
                           .owner = spec.owner,
                           .state = DomainState::kPaused};
  }
  return on_create ? on_create(spec) : absl::OkStatus();
}

absl::Status FakeHypervisor::Destroy(std::string_view name) {
  {
    absl::MutexLock lock(&mutex_);
    KDBG_RETURN_IF_ERROR(failure_);
  }
  Drop(name, "destroyed");
  return absl::OkStatus();
}

absl::StatusOr<DomainState> FakeHypervisor::State(std::string_view name) {
  absl::MutexLock lock(&mutex_);
  KDBG_RETURN_IF_ERROR(failure_);
  const auto found = domains_.find(name);
  return found == domains_.end() ? DomainState::kGone : found->second.state;
}

absl::Status FakeHypervisor::Suspend(std::string_view name) {
  return Set(name, DomainState::kPaused, DomainEvent::Kind::kPaused);
}

absl::Status FakeHypervisor::Resume(std::string_view name) {
  return Set(name, DomainState::kRunning, DomainEvent::Kind::kResumed);
}

absl::StatusOr<std::vector<vm::OwnDomain>> FakeHypervisor::ListOwn() {
  absl::MutexLock lock(&mutex_);
  KDBG_RETURN_IF_ERROR(failure_);
  std::vector<vm::OwnDomain> own;
  for (const auto& [name, domain] : domains_) own.push_back(domain);
  return own;
}

std::vector<std::string> FakeHypervisor::loaded() const {
  absl::MutexLock lock(&mutex_);
  return loaded_;
}

void FakeHypervisor::SetEmulatorVersion(std::string version) {
  absl::MutexLock lock(&mutex_);
  version_ = std::move(version);
}

absl::Status FakeHypervisor::SaveState(std::string_view name, const vm::StateChannel& /*channel*/,
                                       int file, std::stop_token cancel) {
  absl::MutexLock lock(&mutex_);
  KDBG_RETURN_IF_ERROR(failure_);
  if (cancel.stop_requested()) return absl::CancelledError("given up");
  if (!domains_.contains(name)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kVmLost, "it is gone");
  }
  const auto spec = std::find_if(created_.rbegin(), created_.rend(),
                                 [&](const vm::DomainSpec& made) { return made.name == name; });
  if (spec->memory_file && spec->memory_file->access == vm::MemoryFile::Access::kShared) {
    const UniqueFd memory(::open(spec->memory_file->path.c_str(), O_RDWR | O_CLOEXEC));
    KDBG_RETURN_IF_ERROR(WriteAll(memory.get(), kMemoryMark));
  }
  std::string state = fmt::format("QEVM version {} of {}", version_, spec->kernel.string());
  state += std::string("\x0bglobalstate\0\0\0\0\0\0\0\1\0\0\0\6", 24) + "debug";
  state.resize(state.size() + 95);
  return WriteAll(file, state);
}

absl::Status FakeHypervisor::LoadState(std::string_view name, const vm::StateChannel& /*channel*/,
                                       int file) {
  std::string state(std::size_t{1} << 20, '\0');
  const ssize_t size = ::pread(file, state.data(), state.size(), 0);
  state.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  {
    absl::MutexLock lock(&mutex_);
    KDBG_RETURN_IF_ERROR(failure_);
    loaded_.push_back(state);
    if (state.starts_with(fmt::format("QEVM version {} ", version_)) &&
        state.find("debug") == std::string::npos) {
      return absl::OkStatus();
    }
  }
  Drop(name, "failed");
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHypervisorRefused,
                   "the machine does not take this state");
}

absl::Status FakeHypervisor::DumpMemory(std::string_view name, vm::DumpFormat format,
                                        const std::filesystem::path& file) {
  if (on_dump) on_dump(name);
  {
    absl::MutexLock lock(&mutex_);
    KDBG_RETURN_IF_ERROR(failure_);
    if (!domains_.contains(name)) {
      return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kVmLost, "it is gone");
    }
  }
  const UniqueFd dump(::open(file.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_type = ET_CORE;
  header.e_phentsize = sizeof(Elf64_Phdr);
  const std::string_view bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  if (format == vm::DumpFormat::kElf) KDBG_RETURN_IF_ERROR(WriteAll(dump.get(), bytes));
  return WriteAll(dump.get(), fmt::format("{} memory of {}",
                                          format == vm::DumpFormat::kElf ? "elf" : "kdump", name));
}

absl::StatusOr<std::string> FakeHypervisor::EmulatorVersion(Architecture /*architecture*/) {
  absl::MutexLock lock(&mutex_);
  KDBG_RETURN_IF_ERROR(failure_);
  return version_;
}

Subscription FakeHypervisor::Subscribe(EventListener listener) {
  return subscribers_.Add(std::move(listener));
}

absl::Status FakeHypervisor::Set(std::string_view name, DomainState state, DomainEvent::Kind kind) {
  {
    absl::MutexLock lock(&mutex_);
    KDBG_RETURN_IF_ERROR(failure_);
    const auto found = domains_.find(name);
    if (found == domains_.end()) {
      return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kVmLost, "it is gone");
    }
    found->second.state = state;
  }
  subscribers_.Notify(DomainEvent{.name = std::string(name), .kind = kind, .detail = ""});
  return absl::OkStatus();
}

void FakeHypervisor::Drop(std::string_view name, std::string_view detail) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = domains_.find(name);
    if (found == domains_.end()) return;
    domains_.erase(found);
  }
  if (on_destroy) on_destroy(name);
  subscribers_.Notify(DomainEvent{.name = std::string(name),
                                  .kind = DomainEvent::Kind::kStopped,
                                  .detail = std::string(detail)});
}

}  // namespace kdbg
