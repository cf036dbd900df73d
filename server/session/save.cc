// A guest's whole state as an artifact, and sessions that go on from one.
#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "server/base/disk_error.h"
#include "server/base/ids.h"
#include "server/session/copy_room.h"
#include "server/session/saved_session.h"
#include "server/session/sessions_impl.h"
#include "server/state/database.h"

namespace kdbg::session {
namespace {

absl::StatusOr<store::ArtifactFile> PutFile(store::BlobStore& blobs, std::string_view name,
                                            const std::filesystem::path& file) {
  const UniqueFd opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!opened) return DiskError(errno, "open", file);
  KDBG_ASSIGN_OR_RETURN(const store::Blob blob, blobs.Put(opened));
  return store::ArtifactFile{
      .path = std::string(name), .digest = blob.digest, .size_bytes = blob.size_bytes};
}

// What of a guest is outside of the state that QEMU saves; empty: nothing.
std::string_view NotSaved(const SessionRequest& request) {
  if (request.network) return "a network";
  if (!request.disk_image.empty()) return "a disk";
  if (!request.folder_upload.empty()) return "a folder";
  return request.devices.empty() ? "" : "extra devices";
}

}  // namespace

absl::StatusOr<store::Artifact> Sessions::Impl::Save(std::string_view id, std::string_view caller) {
  KDBG_ASSIGN_OR_RETURN(const std::shared_ptr<LiveSession> session, Live(id));
  const SessionRecord record = session->Snapshot();
  if (const std::string_view what = NotSaved(record.request); !what.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                     fmt::format("sessions/{} has {}, which cannot be saved; save one created "
                                 "without",
                                 record.id, what));
  }
  const std::shared_ptr<const void> use = session->Use();
  KDBG_ASSIGN_OR_RETURN(const store::Artifact kernel,
                        parts_.artifacts.Get(record.request.kernel_artifact));
  // In the guest's own folder, which goes with it, however this ends.
  const std::filesystem::path folder = parts_.guests_directory / record.id / NewId("save");
  const absl::Cleanup remove = [&folder] {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  };
  KDBG_ASSIGN_OR_RETURN(const CopyRoom::Place place,
                        parts_.copy_room.Take(parts_.guests_directory, record.request.memory_mib));
  std::string emulator;
  KDBG_RETURN_IF_ERROR(session->WhileHalted([&](guest::Guest& guest) -> absl::Status {
    KDBG_RETURN_IF_ERROR(MakeDirectories(folder, 0700));
    KDBG_ASSIGN_OR_RETURN(emulator,
                          parts_.guest_host.hypervisor.EmulatorVersion(guest.spec().architecture));
    const UniqueFd state(
        ::open((folder / kStateFile).c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
    if (!state) return DiskError(errno, "make", folder / kStateFile);
    KDBG_RETURN_IF_ERROR(guest.Save(state.get(), {}));
    return guest.console()->CopyTo(folder / kConsoleFile);
  }));

  store::Artifact saved;
  saved.kind = store::ArtifactKind::kSavedState;
  saved.owner = std::string(caller);
  saved.is_private = true;  // it holds what the guest had in memory
  saved.build_id = kernel.build_id;
  saved.source_id = kernel.source_id;
  saved.architecture = kernel.architecture;
  saved.version = kernel.version;
  saved.attributes = SavedAttributes(record, emulator);
  for (const char* name : {kConsoleFile, kStateFile}) {
    KDBG_ASSIGN_OR_RETURN(saved.files.emplace_back(), PutFile(parts_.blobs, name, folder / name));
  }
  absl::StatusOr<store::Artifact> published;
  KDBG_RETURN_IF_ERROR(parts_.database.Write([&](state::Transaction& transaction) {
    published = parts_.artifacts.Publish(transaction, saved);
    KDBG_RETURN_IF_ERROR(published.status());
    // Without them it is of no use.
    for (const std::string& input :
         {record.request.kernel_artifact, record.request.initramfs_artifact}) {
      if (input.empty()) continue;
      KDBG_RETURN_IF_ERROR(
          parts_.artifacts.Pin(transaction, input, fmt::format("artifact {}", published->id)));
    }
    return absl::OkStatus();
  }));
  return published;
}

absl::StatusOr<SessionRecord> Sessions::Impl::Restore(std::string_view owner,
                                                      const RestoreRequest& request,
                                                      IfFull if_full) {
  KDBG_ASSIGN_OR_RETURN(const store::Artifact saved, parts_.artifacts.Get(request.artifact));
  KDBG_ASSIGN_OR_RETURN(SessionRequest wanted, RequestToRestore(saved));
  wanted.ttl = request.ttl;
  wanted.request_id = request.request_id;
  return Create(owner, wanted, if_full);
}

absl::Status Sessions::Impl::AdmitSaved(Admitted* admitted) const {
  if (admitted->request.saved_state.empty()) return absl::OkStatus();
  KDBG_ASSIGN_OR_RETURN(const store::Artifact saved,
                        parts_.artifacts.Get(admitted->request.saved_state));
  KDBG_ASSIGN_OR_RETURN(const std::string emulator,
                        parts_.guest_host.hypervisor.EmulatorVersion(admitted->guest.architecture));
  KDBG_RETURN_IF_ERROR(CheckEmulator(saved, emulator));
  const store::ArtifactFile* state = saved.FindFile(kStateFile);
  const store::ArtifactFile* console = saved.FindFile(kConsoleFile);
  if (state == nullptr || console == nullptr) {
    return MakeError(absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
                     fmt::format("artifacts/{} is not whole; save the session again", saved.id));
  }
  admitted->saved = SavedGuest{.image = {.state = parts_.blobs.PathOf(state->digest),
                                         .memory = std::nullopt,
                                         .console = parts_.blobs.PathOf(console->digest)},
                               .stopped_at = StoppedAt(saved)};
  return absl::OkStatus();
}

}  // namespace kdbg::session
