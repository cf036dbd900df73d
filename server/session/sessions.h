// Sessions: guests on lease. Joins a guest, its gdb door and its port under one record, and ends
// them together.
//
// Thread-safe; nothing here blocks on libvirt or a guest except where said: Create answers with the
// session CREATING and a worker of its own brings it up. Callers have passed access/ Check before
// they come here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/network.h"
#include "server/base/subscribers.h"
#include "server/session/quota.h"
#include "server/session/session_record.h"

namespace kdbg {
class Clock;
}
namespace kdbg::gdb {
class Door;
class Gateway;
}  // namespace kdbg::gdb
namespace kdbg::guest {
class ConsoleLog;
class ConsoleInput;
}  // namespace kdbg::guest
namespace kdbg::state {
class Database;
}
namespace kdbg::store {
class ArtifactStore;
class BlobStore;
struct Artifact;
}  // namespace kdbg::store
namespace kdbg::vm {
enum class DumpFormat;
}

namespace kdbg::session {

class TemplatePool;
class WarmPool;

struct SessionLimits {
  absl::Duration default_ttl = absl::Hours(2);
  absl::Duration maximum_ttl = absl::Hours(48);
  std::int64_t default_memory_mib = 256;
  std::int64_t minimum_memory_mib = 16;
  std::int64_t maximum_memory_mib = 4096;
  int maximum_vcpu_count = 4;
  Quota quota = {.user = {}, .host = {.sessions = 64}};
  std::size_t maximum_waiting = 256;
  std::string gdb_host = "127.0.0.1";
  std::vector<Network> gdb_peers = {};     // other hosts that may attach gdb at a port
  std::filesystem::path disk_images = {};  // disk_images.h; empty: there are none
  int first_port = 20000;
  int last_port = 20999;
  absl::Duration boot_timeout = absl::Minutes(3);
  std::int64_t template_memory_mib = 0;  // of all templates; 0: every session boots cold
  std::int64_t warm_memory_mib = 0;      // of clones made ahead; 0: none
};

class Sessions {
 public:
  struct Parts;  // what it borrows; all outlive it (session_parts.h)

  // Adopts or ends what the last run of the daemon left, then takes requests.
  static absl::StatusOr<std::unique_ptr<Sessions>> Open(const Parts& parts,
                                                        const SessionLimits& limits);
  // Stops its workers; guests run on and are found again by the next Open.
  ~Sessions();

  // INVALID_ARGUMENT, FAILED_PRECONDITION, NOT_FOUND, RESOURCE_EXHAUSTED as CreateSession says.
  // With kWait the session may come back QUEUED; it starts by itself when there is room.
  enum class IfFull { kRefuse, kWait };
  absl::StatusOr<SessionRecord> Create(std::string_view owner, const SessionRequest& request,
                                       IfFull if_full = IfFull::kRefuse);
  absl::StatusOr<SessionRecord> Get(std::string_view id) const;

  struct ListQuery {
    std::optional<std::string> owner;  // and what is shared with them; absent: everybody's
    bool include_ended = false;
    int limit = 50;
    std::int64_t before_sequence = 0;  // 0: from the newest
  };
  std::vector<SessionRecord> List(const ListQuery& query) const;

  // Answers when port and door are closed; the VM is destroyed behind it. Idempotent.
  absl::Status Delete(std::string_view id);
  absl::StatusOr<SessionRecord> Renew(std::string_view id, std::optional<absl::Duration> ttl);
  absl::StatusOr<SessionRecord> Pause(std::string_view id);
  absl::StatusOr<SessionRecord> Resume(std::string_view id);
  // Boots anew, in the background.
  absl::StatusOr<SessionRecord> Reset(std::string_view id);
  // Idempotent; kNone takes a share back.
  absl::StatusOr<SessionRecord> Share(std::string_view id, const SessionShare& share);

  // Writes the guest's memory into an artifact of `caller`'s, with the vmlinux it goes with. A
  // guest that runs halts meanwhile. Blocks for as long as that takes.
  //   FAILED_PRECONDITION  as LiveSession::WhileHalted
  //   RESOURCE_EXHAUSTED   kDiskFull
  absl::StatusOr<store::Artifact> Dump(std::string_view id, std::string_view caller,
                                       vm::DumpFormat format);

  // Until it is gone, the lease goes on by itself, within its hard maximum; for who types at the
  // console. nullptr: the session has ended.
  std::shared_ptr<const void> Use(std::string_view id) const;

  // The guest's whole state as an artifact of `caller`'s. Errors as Dump.
  absl::StatusOr<store::Artifact> Save(std::string_view id, std::string_view caller);
  struct RestoreRequest {
    std::string artifact;  // id, of a saved state
    std::optional<absl::Duration> ttl;
    std::string request_id;
  };
  // A session that goes on from there. Errors as Create, and
  //   INVALID_ARGUMENT     kFieldInvalid: it is no saved state
  //   FAILED_PRECONDITION  kHypervisorRefused: it is from another emulator
  absl::StatusOr<SessionRecord> Restore(std::string_view owner, const RestoreRequest& request,
                                        IfFull if_full = IfFull::kRefuse);

  // While held, nobody who waits is started and no guest is made ahead; those that were made go.
  void SetHeld(bool held);

  // Who may attach gdb at a port is looked up again, for every session. May block.
  void RolesChanged();

  // Called with every new state of the session until destroyed, from a thread of ours, never under
  // a lock.
  using Listener = std::function<void(const SessionRecord&)>;
  [[nodiscard]] Subscription Subscribe(std::string_view id, Listener listener);
  // Likewise of every session.
  [[nodiscard]] Subscription SubscribeAll(Listener listener) const;

  // The live parts; FAILED_PRECONDITION (kWrongState) when the session has none (any more).
  absl::StatusOr<std::shared_ptr<gdb::Door>> door(std::string_view id) const;
  // The console log outlives the guest as long as the record does.
  absl::StatusOr<std::shared_ptr<guest::ConsoleLog>> console(std::string_view id) const;
  absl::StatusOr<std::shared_ptr<guest::ConsoleInput>> console_input(std::string_view id) const;

  // How many hold a part of the host; for ServerInfo.
  int active() const;
  // Of those that have not ended; every such state is there, with 0 if need be. From memory.
  std::map<SessionState, int> CountByState() const;
  const SessionLimits& limits() const;
  const TemplatePool& templates() const;
  const WarmPool& warm_guests() const;

 private:
  class Impl;
  explicit Sessions(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace kdbg::session
