// Whether a request can be served at all, and with what: defaults filled in, bounds checked. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/guest/guest.h"
#include "server/session/session_record.h"
#include "server/session/sessions.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"

namespace kdbg::session {

struct Accelerators {
  bool kvm_usable = false;
  std::string_view kvm_reason;  // why not
};

// What a session goes on from.
struct SavedGuest {
  guest::MachineImage image;
  std::string stopped_at;  // where it is halted; may be empty
};

struct Admitted {
  SessionRequest request;  // nothing left at "default"
  absl::Duration ttl;
  guest::GuestSpec guest;  // all but id, owner, identity and directory
  guest::StopPoint stop;
  std::optional<SavedGuest> saved = std::nullopt;  // absent: it boots
};

// `initramfs` is null when the request names none.
//   INVALID_ARGUMENT     kFieldInvalid, kMemoryOutOfBounds
//   FAILED_PRECONDITION  kNoDebugInformation, kAcceleratorUnavailable, kWrongState (architectures
//   differ, or the kernel drives no network, disk or folder)
absl::StatusOr<Admitted> Admit(const SessionRequest& request, const store::Artifact& kernel,
                               const store::Artifact* initramfs, const store::BlobStore& blobs,
                               const SessionLimits& limits, const Accelerators& accelerators);

}  // namespace kdbg::session
