// Sessions on disk. Knows SQL and nothing else; writes in the caller's Transaction.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/session/session_record.h"
#include "server/session/sessions.h"
#include "server/state/database.h"
#include "server/store/artifact_store.h"

namespace kdbg::session {

std::span<const state::Migration> SessionMigrations();

// Fills in `sequence`.
absl::Status InsertSession(state::Transaction& transaction, SessionRecord& record);
// Everything but id, owner, request and creation.
absl::Status UpdateSession(state::Transaction& transaction, const SessionRecord& record);

// A session keeps its artifacts from garbage collection from its first record to its last.
absl::Status TakePins(state::Transaction& transaction, store::ArtifactStore& artifacts,
                      const SessionRecord& record);
absl::Status ReleasePins(state::Transaction& transaction, store::ArtifactStore& artifacts,
                         const SessionRecord& record);

// NOT_FOUND (kResourceNotFound).
absl::StatusOr<SessionRecord> LoadSession(state::Transaction& transaction, std::string_view id);
// What this owner's earlier request of that id made; nullopt when there was none, or no id.
absl::StatusOr<std::optional<SessionRecord>> FindRequest(state::Transaction& transaction,
                                                         std::string_view owner,
                                                         std::string_view request_id);
// Newest first.
absl::StatusOr<std::vector<SessionRecord>> LoadSessions(state::Transaction& transaction,
                                                        const Sessions::ListQuery& query);
// Those that had not ended when the daemon last ran, oldest first.
absl::StatusOr<std::vector<SessionRecord>> LoadUnfinished(state::Transaction& transaction);

}  // namespace kdbg::session
