// What a session does by itself, as its owner asked: at a panic, and when its lease runs out.
#include <utility>

#include "proto/contract/error.h"
#include "server/observe/log.h"
#include "server/session/dump.h"
#include "server/session/live_session.h"

namespace kdbg::session {

bool LiveSession::in_use() const {
  absl::MutexLock lock(&mutex_);
  return !record_.gdb_holder.empty() || uses_.use_count() > 1;
}

void LiveSession::WarnOfExpiry() {
  Update(Keep::kInMemory, [](SessionRecord& record) { record.expires_soon = true; });
}

void LiveSession::Expire() {
  {
    absl::MutexLock lock(&mutex_);
    const bool has_memory =
        record_.state == SessionState::kReady || record_.state == SessionState::kCrashed;
    if (record_.request.on_expiry == OnExpiry::kDump && has_memory && end_reason_.empty()) {
      expired_ = notes_.expired = true;
      return;
    }
  }
  End("EXPIRED");
}

void LiveSession::ObeyOnExpiry() {
  std::shared_ptr<gdb::Door> door;
  {
    absl::MutexLock lock(&mutex_);
    door = std::exchange(door_, nullptr);
  }
  CloseDoor(std::move(door));
  Update(Keep::kInMemory, [](SessionRecord& record) { record.gdb_holder.clear(); });
  DumpForOwner();
  End("EXPIRED");
}

void LiveSession::ObeyOnPanic() {
  switch (Snapshot().request.on_panic) {
    case OnPanic::kStay:
      return;
    case OnPanic::kDump:
      return DumpForOwner();
    case OnPanic::kReset:
      // Under gdb somebody is looking at it.
      if (const auto begun = Reset(); !begun.ok()) {
        spdlog::info("not reset after its panic: {}", begun.status().ToString());
      }
      return;
  }
}

void LiveSession::DumpForOwner() {
  const SessionRecord before = Snapshot();
  const absl::StatusOr<store::Artifact> dump =
      DumpMemory(*this, before.owner, vm::DumpFormat::kElf, parts_);
  if (!dump.ok()) {
    spdlog::error("session {} of {} could not be dumped: {}", before.id, before.owner,
                  dump.status().ToString());
  }
  Update(Keep::kStored, [&](SessionRecord& record) {
    record.last_dump = dump.ok() ? dump->id : std::string();
    record.dump_failure = dump.ok() ? std::string() : std::string(dump.status().message());
  });
}

}  // namespace kdbg::session
