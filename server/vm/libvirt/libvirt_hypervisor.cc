#include "server/vm/libvirt/libvirt_hypervisor.h"

#include <fmt/format.h>
#include <libvirt/virterror.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/host/emulator.h"
#include "server/observe/log.h"
#include "server/vm/libvirt/confinement.h"
#include "server/vm/libvirt/domain_state.h"
#include "server/vm/libvirt/domain_xml.h"
#include "server/vm/libvirt/embedded_root.h"

namespace kdbg::vm {
namespace {

DomainState ToState(int state, int reason) {
  switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
      return DomainState::kRunning;
    case VIR_DOMAIN_PAUSED:
      return reason == VIR_DOMAIN_PAUSED_CRASHED ? DomainState::kCrashed : DomainState::kPaused;
    case VIR_DOMAIN_PMSUSPENDED:
      return DomainState::kPaused;
    case VIR_DOMAIN_CRASHED:
      return DomainState::kCrashed;
    default:
      return DomainState::kGone;
  }
}

std::string_view StoppedDetail(int detail) {
  switch (detail) {
    case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
      return "shutdown";
    case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
      return "destroyed";
    case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
      return "crashed";
    case VIR_DOMAIN_EVENT_STOPPED_FAILED:
      return "failed";
    default:
      return "stopped";
  }
}

std::optional<DomainEvent> ToEvent(std::string_view name, int event, int detail) {
  DomainEvent result{.name = std::string(name), .kind = DomainEvent::Kind::kStopped, .detail = ""};
  switch (event) {
    case VIR_DOMAIN_EVENT_SUSPENDED:
      result.kind = DomainEvent::Kind::kPaused;
      return result;
    case VIR_DOMAIN_EVENT_RESUMED:
      result.kind = DomainEvent::Kind::kResumed;
      return result;
    case VIR_DOMAIN_EVENT_CRASHED:
      result.kind = DomainEvent::Kind::kPanicked;
      return result;
    case VIR_DOMAIN_EVENT_STOPPED:
      result.detail = StoppedDetail(detail);
      return result;
    default:
      return std::nullopt;
  }
}

// QEMU under the guest's uid opens /dev/kvm by the group of that device, which therefore becomes
// its group.
host::Identity WithKvmGroup(host::Identity identity) {
  struct stat device {};
  if (::stat("/dev/kvm", &device) == 0 && (device.st_mode & S_IROTH) == 0) {
    identity.gid = device.st_gid;
  }
  return identity;
}

// Keeps this thread on one processor. An embedded driver reads CPUID when it starts and believes
// the host has changed, and probes the emulators again for seconds, when that came from another
// processor (with another APIC id) than last time.
class OnFirstProcessor {
 public:
  OnFirstProcessor() {
    if (::sched_getaffinity(0, sizeof(before_), &before_) != 0) return;
    cpu_set_t first;
    CPU_ZERO(&first);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &before_)) continue;
      CPU_SET(cpu, &first);
      break;
    }
    moved_ = ::sched_setaffinity(0, sizeof(first), &first) == 0;
  }
  ~OnFirstProcessor() {
    if (moved_) ::sched_setaffinity(0, sizeof(before_), &before_);
  }
  OnFirstProcessor(const OnFirstProcessor&) = delete;
  OnFirstProcessor& operator=(const OnFirstProcessor&) = delete;

 private:
  cpu_set_t before_{};
  bool moved_ = false;
};

// libvirt would print to stderr on its own what it returns to us anyway, and much that is no error
// of ours.
void QuietLibvirt(const std::optional<std::filesystem::path>& root) {
  const std::string output =
      root ? fmt::format("4:file:{}", (*root / "libvirt.log").string()) : "4:stderr";
  ::setenv("LIBVIRT_LOG_OUTPUTS", output.c_str(), /*overwrite=*/0);
  virSetErrorFunc(nullptr, [](void*, virErrorPtr) {});
}

}  // namespace

absl::StatusOr<std::unique_ptr<LibvirtHypervisor>> LibvirtHypervisor::Open(Options options) {
  const std::optional<std::filesystem::path> root = EmbeddedRoot(options.uri);
  if (root) KDBG_RETURN_IF_ERROR(PrepareEmbeddedRoot(*root));
  if (!options.apparmor_profile.empty() && !HasAppArmor()) {
    spdlog::warn("guests run without the AppArmor profile {}: this kernel has no AppArmor",
                 options.apparmor_profile);
    options.apparmor_profile.clear();
  }
  QuietLibvirt(root);
  if (virInitialize() != 0) return LastLibvirtError("starting libvirt");
  KDBG_ASSIGN_OR_RETURN(auto loop, EventLoop::Start());
  std::unique_ptr<LibvirtHypervisor> self(
      new LibvirtHypervisor(std::move(options), std::move(loop)));
  KDBG_ASSIGN_OR_RETURN(Connection connection, self->Connect());
  {
    absl::MutexLock lock(&self->mutex_);
    self->connection_ = std::move(connection);
  }
  KDBG_ASSIGN_OR_RETURN(std::vector<OwnDomain> left, self->ListOwn());
  {
    absl::MutexLock lock(&self->mutex_);
    for (const OwnDomain& domain : left) self->alive_.insert(domain.name);
  }
  self->keeper_ = std::thread([hypervisor = self.get()] { hypervisor->Keep(); });
  return self;
}

LibvirtHypervisor::LibvirtHypervisor(Options options, std::unique_ptr<EventLoop> loop)
    : options_(std::move(options)), root_(EmbeddedRoot(options_.uri)), loop_(std::move(loop)) {}

LibvirtHypervisor::~LibvirtHypervisor() {
  Connection last;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    last = std::exchange(connection_, nullptr);
  }
  if (keeper_.joinable()) keeper_.join();
  last.reset();
  absl::MutexLock lock(&mutex_);
  lost_.reset();
}

absl::StatusOr<LibvirtHypervisor::Connection> LibvirtHypervisor::Connect() {
  virConnectPtr opened = nullptr;
  {
    const OnFirstProcessor pinned;
    opened = virConnectOpen(options_.uri.c_str());
  }
  if (opened == nullptr) {
    const absl::Status why = LastLibvirtError(fmt::format("connecting to {}", options_.uri));
    return MakeError(absl::StatusCode::kUnavailable, Reason::kHypervisorUnavailable,
                     std::string(why.message()));
  }
  // A driver inside this process cannot be lost and knows neither.
  const bool watched =
      !root_ && virConnectRegisterCloseCallback(opened, OnClose, this, nullptr) == 0;
  if (!root_) virConnectSetKeepAlive(opened, 5, 3);
  const int events =
      virConnectDomainEventRegisterAny(opened, nullptr, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                       VIR_DOMAIN_EVENT_CALLBACK(OnLifecycle), this, nullptr);
  if (events < 0) {
    const absl::Status why = LastLibvirtError("asking for events");
    virConnectClose(opened);
    return why;
  }
  return Connection(opened, [watched, events](virConnectPtr connection) {
    virConnectDomainEventDeregisterAny(connection, events);
    if (watched) virConnectUnregisterCloseCallback(connection, OnClose);
    virConnectClose(connection);
  });
}

absl::StatusOr<LibvirtHypervisor::Connection> LibvirtHypervisor::connection() const {
  absl::MutexLock lock(&mutex_);
  if (connection_ != nullptr) return connection_;
  return MakeError(absl::StatusCode::kUnavailable, Reason::kHypervisorUnavailable,
                   fmt::format("the connection to libvirt at {} is lost and is being made again; "
                               "see that libvirtd runs, then try again",
                               options_.uri),
                   {}, absl::Seconds(5));
}

void LibvirtHypervisor::Keep() {
  WarmUp();
  absl::Duration pause = absl::Seconds(1);
  while (true) {
    Connection lost;
    {
      absl::MutexLock lock(&mutex_);
      const auto needed = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
        return stopping_ || connection_ == nullptr;
      };
      mutex_.Await(absl::Condition(&needed));
      if (stopping_) return;
      lost = std::move(lost_);
    }
    lost.reset();
    absl::StatusOr<Connection> again = Connect();
    if (again.ok()) {
      spdlog::info("libvirt: connected again to {}", options_.uri);
      pause = absl::Seconds(1);
      {
        absl::MutexLock lock(&mutex_);
        connection_ = *std::move(again);
      }
      Resynchronize();
      continue;
    }
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), pause);
    pause = std::min(pause * 2, absl::Seconds(30));
  }
}

// libvirt probes an emulator at its first use, which takes seconds that no session should wait for.
void LibvirtHypervisor::WarmUp() {
  const absl::StatusOr<Connection> current = connection();
  if (!current.ok()) return;
  const ArchitectureTraits& traits = TraitsOf(HostArchitecture());
  LibvirtString capabilities(virConnectGetDomainCapabilities(
      current->get(), host::EmulatorPath(traits.architecture).c_str(),
      std::string(traits.libvirt_arch).c_str(), std::string(traits.machine).c_str(), "qemu", 0));
}

void LibvirtHypervisor::Resynchronize() {
  const absl::StatusOr<std::vector<OwnDomain>> now = ListOwn();
  if (!now.ok()) return;
  std::vector<std::string> gone;
  {
    absl::MutexLock lock(&mutex_);
    std::set<std::string, std::less<>> before = std::exchange(alive_, {});
    for (const OwnDomain& domain : *now) {
      alive_.insert(domain.name);
      before.erase(domain.name);
    }
    gone.assign(before.begin(), before.end());
  }
  for (std::string& name : gone) {
    subscribers_.Notify(DomainEvent{.name = std::move(name),
                                    .kind = DomainEvent::Kind::kStopped,
                                    .detail = "gone while libvirt was away"});
  }
}

int LibvirtHypervisor::OnLifecycle(virConnectPtr, virDomainPtr domain, int event, int detail,
                                   void* self) {
  const std::string_view name = virDomainGetName(domain);
  if (!name.starts_with(kDomainPrefix)) return 0;
  auto* hypervisor = static_cast<LibvirtHypervisor*>(self);
  const std::optional<DomainEvent> told = ToEvent(name, event, detail);
  if (!told) return 0;
  {
    // Names are checked here rather than metadata: a domain that stops has none any more.
    absl::MutexLock lock(&hypervisor->mutex_);
    if (!hypervisor->alive_.contains(name)) return 0;
    if (told->kind == DomainEvent::Kind::kStopped) hypervisor->alive_.erase(told->name);
  }
  hypervisor->subscribers_.Notify(*told);
  return 0;
}

void LibvirtHypervisor::OnClose(virConnectPtr, int, void* self) {
  auto* hypervisor = static_cast<LibvirtHypervisor*>(self);
  absl::MutexLock lock(&hypervisor->mutex_);
  if (hypervisor->stopping_) return;
  spdlog::warn("libvirt: lost the connection to {}", hypervisor->options_.uri);
  hypervisor->lost_ = std::exchange(hypervisor->connection_, nullptr);
}

std::optional<OwnDomain> LibvirtHypervisor::Describe(virDomainPtr domain) const {
  const std::string_view name = virDomainGetName(domain);
  if (!name.starts_with(kDomainPrefix)) return std::nullopt;
  const LibvirtString element(
      virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, kMetadataNamespace, 0));
  if (element == nullptr) return std::nullopt;
  const std::optional<DomainMetadata> metadata = ParseDomainMetadata(element.get());
  if (!metadata || metadata->instance != options_.instance) return std::nullopt;
  OwnDomain own{.name = std::string(name), .uuid = "", .owner = metadata->owner, .state = {}};
  char uuid[VIR_UUID_STRING_BUFLEN] = {};
  if (virDomainGetUUIDString(domain, uuid) == 0) own.uuid = uuid;
  int state = 0;
  int reason = 0;
  own.state = virDomainGetState(domain, &state, &reason, 0) == 0 ? ToState(state, reason)
                                                                 : DomainState::kGone;
  return own;
}

absl::StatusOr<DomainHandle> LibvirtHypervisor::Find(const Connection& connection,
                                                     std::string_view name) {
  const std::string domain_name(name);
  DomainHandle domain(virDomainLookupByName(connection.get(), domain_name.c_str()));
  if (domain == nullptr) {
    if (LastErrorIsNoDomain()) return DomainHandle();
    return LastLibvirtError(fmt::format("looking for {}", name));
  }
  if (Describe(domain.get())) return domain;
  if (virDomainIsActive(domain.get()) != 1) return DomainHandle();
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHypervisorRefused,
                   fmt::format("the domain {} was not made by this kdbgd and is left alone", name));
}

absl::StatusOr<DomainHandle> LibvirtHypervisor::Need(const Connection& connection,
                                                     std::string_view name) {
  KDBG_ASSIGN_OR_RETURN(DomainHandle domain, Find(connection, name));
  if (domain != nullptr) return domain;
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kVmLost,
                   fmt::format("{} is gone", name));
}

absl::Status LibvirtHypervisor::Refuse(const DomainSpec& spec) const {
  if (root_ && ::geteuid() == 0 && (!spec.run_as || spec.run_as->uid == 0)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHypervisorRefused,
                     "no guest runs as root: configure a range of uids for guests");
  }
  return absl::OkStatus();
}

absl::Status LibvirtHypervisor::CreatePaused(const DomainSpec& spec) {
  KDBG_RETURN_IF_ERROR(Refuse(spec));
  KDBG_RETURN_IF_ERROR(host::CheckEmulator(spec.architecture));
  KDBG_ASSIGN_OR_RETURN(const Connection current, connection());
  KDBG_ASSIGN_OR_RETURN(const DomainHandle existing, Find(current, spec.name));
  if (existing != nullptr) {
    return MakeError(absl::StatusCode::kAlreadyExists, Reason::kHypervisorRefused,
                     fmt::format("a domain {} exists already", spec.name));
  }
  DomainSpec final_spec = spec;
  if (spec.accelerator == Accelerator::kKvm && spec.run_as) {
    final_spec.run_as = WithKvmGroup(*spec.run_as);
  }
  const std::string xml = DomainXml(final_spec, options_.instance);
  {
    absl::MutexLock lock(&mutex_);
    alive_.insert(spec.name);
  }
  // An embedded driver starts QEMU from the thread that asks for it.
  const auto create = [&] {
    const DomainHandle domain(virDomainCreateXML(
        current.get(), xml.c_str(), VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_VALIDATE));
    if (domain != nullptr) return absl::OkStatus();
    return LastLibvirtError(fmt::format("creating {}", spec.name));
  };
  absl::Status created =
      options_.apparmor_profile.empty() ? create() : RunConfined(options_.apparmor_profile, create);
  if (created.ok()) return created;
  absl::MutexLock lock(&mutex_);
  alive_.erase(spec.name);
  return created;
}

absl::Status LibvirtHypervisor::Destroy(std::string_view name) {
  KDBG_ASSIGN_OR_RETURN(const Connection current, connection());
  KDBG_ASSIGN_OR_RETURN(const DomainHandle domain, Find(current, name));
  if (domain == nullptr || virDomainDestroy(domain.get()) == 0 || LastErrorIsNoDomain()) {
    if (root_) {
      // libvirt keeps a log of each domain's QEMU for ever.
      std::error_code ignored;
      std::filesystem::remove(*root_ / "log" / "qemu" / fmt::format("{}.log", name), ignored);
    }
    return absl::OkStatus();
  }
  return LastLibvirtError(fmt::format("destroying {}", name));
}

absl::StatusOr<DomainState> LibvirtHypervisor::State(std::string_view name) {
  KDBG_ASSIGN_OR_RETURN(const Connection current, connection());
  KDBG_ASSIGN_OR_RETURN(const DomainHandle domain, Find(current, name));
  if (domain == nullptr) return DomainState::kGone;
  int state = 0;
  int reason = 0;
  if (virDomainGetState(domain.get(), &state, &reason, 0) == 0) return ToState(state, reason);
  if (LastErrorIsNoDomain()) return DomainState::kGone;
  return LastLibvirtError(fmt::format("asking for the state of {}", name));
}

absl::Status LibvirtHypervisor::Suspend(std::string_view name) {
  KDBG_ASSIGN_OR_RETURN(const Connection current, connection());
  KDBG_ASSIGN_OR_RETURN(const DomainHandle domain, Need(current, name));
  if (virDomainSuspend(domain.get()) == 0) return absl::OkStatus();
  return LastLibvirtError(fmt::format("pausing {}", name));
}

absl::Status LibvirtHypervisor::Resume(std::string_view name) {
  KDBG_ASSIGN_OR_RETURN(const Connection current, connection());
  KDBG_ASSIGN_OR_RETURN(const DomainHandle domain, Need(current, name));
  if (virDomainResume(domain.get()) == 0) return absl::OkStatus();
  return LastLibvirtError(fmt::format("resuming {}", name));
}

absl::StatusOr<std::vector<OwnDomain>> LibvirtHypervisor::ListOwn() {
  KDBG_ASSIGN_OR_RETURN(const Connection current, connection());
  virDomainPtr* listed = nullptr;
  const int count =
      virConnectListAllDomains(current.get(), &listed, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
  if (count < 0) return LastLibvirtError("listing domains");
  std::vector<OwnDomain> own;
  for (int i = 0; i < count; ++i) {
    const DomainHandle domain(listed[i]);
    if (std::optional<OwnDomain> described = Describe(domain.get())) {
      own.push_back(*std::move(described));
    }
  }
  std::free(listed);
  return own;
}

absl::Status LibvirtHypervisor::SaveState(std::string_view name, const StateChannel& channel,
                                          int file, std::stop_token cancel) {
  KDBG_ASSIGN_OR_RETURN(const Connection current, connection());
  KDBG_ASSIGN_OR_RETURN(const DomainHandle domain, Need(current, name));
  return SaveDomainState(domain.get(), channel, file, std::move(cancel));
}

absl::Status LibvirtHypervisor::LoadState(std::string_view name, const StateChannel& channel,
                                          int file) {
  KDBG_ASSIGN_OR_RETURN(const Connection current, connection());
  KDBG_ASSIGN_OR_RETURN(const DomainHandle domain, Need(current, name));
  return LoadDomainState(domain.get(), channel, file);
}

absl::Status LibvirtHypervisor::DumpMemory(std::string_view name, DumpFormat format,
                                           const std::filesystem::path& file) {
  KDBG_ASSIGN_OR_RETURN(const Connection current, connection());
  KDBG_ASSIGN_OR_RETURN(const DomainHandle domain, Need(current, name));
  const auto kind = format == DumpFormat::kElf ? VIR_DOMAIN_CORE_DUMP_FORMAT_RAW
                                               : VIR_DOMAIN_CORE_DUMP_FORMAT_KDUMP_ZLIB;
  // By libvirt, which leaves out the guest's virtual addresses, and not by QMP: when QEMU says that
  // it has dumped without a job of libvirt's, libvirt 9.0 goes down.
  // "Live", so that it does not start a machine again that the stub has halted: it may not have
  // heard of that yet. QEMU itself lets nothing run while it dumps.
  if (virDomainCoreDumpWithFormat(domain.get(), file.c_str(), kind,
                                  VIR_DUMP_MEMORY_ONLY | VIR_DUMP_LIVE) == 0) {
    return absl::OkStatus();
  }
  return LastLibvirtError(fmt::format("dumping the memory of {}", name));
}

absl::StatusOr<std::string> LibvirtHypervisor::EmulatorVersion(Architecture architecture) {
  return host::EmulatorVersion(architecture);
}

Subscription LibvirtHypervisor::Subscribe(EventListener listener) {
  return subscribers_.Add(std::move(listener));
}

}  // namespace kdbg::vm
