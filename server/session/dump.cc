#include "server/session/dump.h"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "server/base/disk_error.h"
#include "server/session/copy_room.h"
#include "server/session/live_session.h"
#include "server/state/database.h"

namespace kdbg::session {
namespace {

constexpr char kCoreFile[] = "vmcore";
constexpr char kSymbolsFile[] = "vmlinux";

}  // namespace

absl::StatusOr<store::Artifact> DumpMemory(LiveSession& session, std::string_view owner,
                                           vm::DumpFormat format, const Sessions::Parts& parts) {
  const SessionRecord record = session.Snapshot();
  const std::shared_ptr<const void> use = session.Use();
  KDBG_ASSIGN_OR_RETURN(const store::Artifact kernel,
                        parts.artifacts.Get(record.request.kernel_artifact));
  KDBG_ASSIGN_OR_RETURN(const CopyRoom::Place place,
                        parts.copy_room.Take(parts.guests_directory, record.request.memory_mib));
  UniqueFd dumped;
  KDBG_RETURN_IF_ERROR(session.WhileHalted([&](guest::Guest& guest) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(dumped, guest.DumpMemory(format));
    return absl::OkStatus();
  }));
  KDBG_ASSIGN_OR_RETURN(const store::Blob core, parts.blobs.Put(dumped));

  store::Artifact dump;
  dump.kind = store::ArtifactKind::kDump;
  dump.owner = std::string(owner);
  dump.is_private = true;  // it holds what the guest had in memory
  dump.build_id = kernel.build_id;
  dump.source_id = kernel.source_id;
  dump.architecture = kernel.architecture;
  dump.gnu_build_id = kernel.gnu_build_id;
  dump.version = kernel.version;
  dump.files.push_back({.path = kCoreFile, .digest = core.digest, .size_bytes = core.size_bytes});
  // Takes no room: it is stored once. So the dump can be read when the kernel is gone.
  // Who only controls the session may not read the kernel for that.
  const bool readable = !kernel.is_private || kernel.owner == owner || record.owner == owner;
  const store::ArtifactFile* symbols = kernel.FindFile(kSymbolsFile);
  if (readable && symbols != nullptr) dump.files.push_back(*symbols);
  absl::StatusOr<store::Artifact> published;
  KDBG_RETURN_IF_ERROR(parts.database.Write([&](state::Transaction& transaction) {
    published = parts.artifacts.Publish(transaction, dump);
    return published.status();
  }));
  return published;
}

}  // namespace kdbg::session
