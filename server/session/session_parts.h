// What Sessions borrows from the composition root.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/guest/guest.h"
#include "server/host/fd_store.h"
#include "server/host/identity.h"
#include "server/session/copy_room.h"
#include "server/session/sessions.h"

namespace kdbg::source {
class UploadStore;
}

namespace kdbg::session {

// Somebody came to a session's gdb port, and was let in or not. Who comes by a call is known there.
struct GdbVisit {
  std::string session;
  std::string user;  // of this host; empty: from another
  std::string from;  // "tcp 127.0.0.1:51234"
  absl::Status admitted;
};

struct Sessions::Parts {
  state::Database& database;
  store::ArtifactStore& artifacts;
  store::BlobStore& blobs;
  guest::GuestHost guest_host;
  gdb::Gateway& gateway;
  const Clock& clock;
  CopyRoom& copy_room;
  const source::UploadStore& uploads;
  std::filesystem::path guests_directory;  // one folder per session: console log and sockets
  bool kvm_usable = false;
  std::string kvm_reason;  // why not
  // The uid an owner's guests run under; nullopt when everything runs under one.
  std::function<absl::StatusOr<std::optional<host::Identity>>(std::string_view owner)>
      guest_identity;
  std::filesystem::path templates_directory;  // with a budget for them in SessionLimits
  // The account on this host of a user who may debug, if there is one. May block.
  std::function<std::optional<uid_t>(const std::string& user)> uid_of;
  // Called on the gateway's thread: note it and return.
  std::function<void(const GdbVisit&)> on_gdb_visit;
  host::FdStore* fd_store = nullptr;  // with gdb ports of an earlier daemon; null: there was none
};

}  // namespace kdbg::session
