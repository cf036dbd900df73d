// Virtual machines by libvirt: its drivers inside this process (qemu:///embed?root=DIR) or any
// daemon it can reach.
//
// Thread-safe. A connection that is lost is made again behind the scenes; until then calls say
// UNAVAILABLE. One per process, because libvirt's event loop is.
#pragma once

#include <libvirt/libvirt.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/base/subscribers.h"
#include "server/vm/hypervisor.h"
#include "server/vm/libvirt/event_loop.h"
#include "server/vm/libvirt/libvirt_handles.h"

namespace kdbg::vm {

class LibvirtHypervisor final : public Hypervisor {
 public:
  struct Options {
    std::string uri;
    std::string
        instance;  // tells our domains from those of another kdbgd; the state directory, for one
    std::string apparmor_profile = {};  // of guests of an embedded driver; empty: none
  };
  // Domains that an earlier run left under the same instance are there again.
  //   UNAVAILABLE  kHypervisorUnavailable
  static absl::StatusOr<std::unique_ptr<LibvirtHypervisor>> Open(Options options);
  // Lets go of the domains; they run on.
  ~LibvirtHypervisor() override;

  absl::Status CreatePaused(const DomainSpec& spec) override;
  absl::Status Destroy(std::string_view name) override;
  absl::StatusOr<DomainState> State(std::string_view name) override;
  absl::Status Suspend(std::string_view name) override;
  absl::Status Resume(std::string_view name) override;
  absl::StatusOr<std::vector<OwnDomain>> ListOwn() override;
  absl::Status SaveState(std::string_view name, const StateChannel& channel, int file,
                         std::stop_token cancel) override;
  absl::Status LoadState(std::string_view name, const StateChannel& channel, int file) override;
  absl::Status DumpMemory(std::string_view name, DumpFormat format,
                          const std::filesystem::path& file) override;
  absl::StatusOr<std::string> EmulatorVersion(Architecture architecture) override;
  [[nodiscard]] Subscription Subscribe(EventListener listener) override;
  std::string Uri() const override { return options_.uri; }
  absl::Status Health() const override { return connection().status(); }

 private:
  using Connection = std::shared_ptr<virConnect>;

  LibvirtHypervisor(Options options, std::unique_ptr<EventLoop> loop);
  absl::StatusOr<Connection> Connect();
  absl::StatusOr<Connection> connection() const ABSL_LOCKS_EXCLUDED(mutex_);
  // A null handle when there is none; FAILED_PRECONDITION when it is somebody else's.
  absl::StatusOr<DomainHandle> Find(const Connection& connection, std::string_view name);
  // FAILED_PRECONDITION (kVmLost) when there is none.
  absl::StatusOr<DomainHandle> Need(const Connection& connection, std::string_view name);
  std::optional<OwnDomain> Describe(virDomainPtr domain) const;
  absl::Status Refuse(const DomainSpec& spec) const;
  void Keep() ABSL_LOCKS_EXCLUDED(mutex_);
  void WarmUp();
  // After a reconnection: what has gone meanwhile is told as an event.
  void Resynchronize();

  static int OnLifecycle(virConnectPtr, virDomainPtr domain, int event, int detail, void* self);
  static void OnClose(virConnectPtr, int reason, void* self);

  const Options options_;
  const std::optional<std::filesystem::path> root_;  // of an embedded one
  Subscribers<const DomainEvent&> subscribers_;
  std::unique_ptr<EventLoop> loop_;  // outlives every connection
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Connection connection_ ABSL_GUARDED_BY(mutex_);  // null while it is lost
  Connection lost_ ABSL_GUARDED_BY(mutex_);        // until the keeper closes it
  std::set<std::string, std::less<>> alive_ ABSL_GUARDED_BY(mutex_);
  std::thread keeper_;
};

}  // namespace kdbg::vm
