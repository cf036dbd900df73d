#include "server/source/trusted_sources.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"
#include "server/base/ids.h"
#include "server/source/source_records.h"

namespace kdbg::source {
namespace {

constexpr int kMostTrusted = 1000;

absl::StatusOr<std::vector<SourceRow>> ReadyRows(state::Transaction& transaction) {
  KDBG_ASSIGN_OR_RETURN(std::vector<SourceRow> rows,
                        SourceRecords::List(transaction, {.owner = std::string(kTrustedOwner),
                                                          .limit = kMostTrusted}));
  std::erase_if(rows, [](const SourceRow& row) { return row.record.state != SourceState::kReady; });
  return rows;
}

}  // namespace

absl::StatusOr<SourceRecord> TrustedSources::Trust(std::string_view source_id) {
  SourceRow row;
  bool known = false;
  KDBG_RETURN_IF_ERROR(database_.Read([&](state::Transaction& transaction) -> absl::Status {
    const std::string name = ResourceName(kSources, std::string(source_id));
    KDBG_ASSIGN_OR_RETURN(std::optional<SourceRow> found,
                          SourceRecords::Find(transaction, source_id));
    if (!found) return ResourceNotFound(name);
    if (found->record.state != SourceState::kReady) {
      return MakeError(
          absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
          fmt::format("{} is not ready: wait for its import, or see why it failed", name),
          {{"resource", name}, {"state", "IMPORTING or FAILED"}});
    }
    row = *std::move(found);
    KDBG_ASSIGN_OR_RETURN(std::vector<SourceRow> trusted, ReadyRows(transaction));
    for (SourceRow& one : trusted) {
      if (one.record.tree != row.record.tree) continue;
      row = std::move(one);
      known = true;
      break;
    }
    return absl::OkStatus();
  }));
  if (known) return std::move(row.record);
  row.record.id = NewId("s");
  row.record.owner = kTrustedOwner;
  row.record.create_time = clock_.Now();
  row.record.ready_time = row.record.create_time;
  row.record.origin.upload.clear();
  row.request_id.clear();
  row.reader.reset();
  KDBG_RETURN_IF_ERROR(objects_.Keep(row.record.id, row.record.tree));
  const absl::Status stored = database_.Write([&](state::Transaction& transaction) -> absl::Status {
    KDBG_RETURN_IF_ERROR(SourceRecords::Insert(transaction, row));
    return SourceRecords::Update(transaction, row.record).status();
  });
  if (!stored.ok()) {
    objects_.Forget(row.record.id).IgnoreError();
    return stored;
  }
  return std::move(row.record);
}

absl::StatusOr<std::vector<SourceRecord>> TrustedSources::List() const {
  std::vector<SourceRecord> records;
  KDBG_RETURN_IF_ERROR(database_.Read([&](state::Transaction& transaction) -> absl::Status {
    KDBG_ASSIGN_OR_RETURN(std::vector<SourceRow> rows, ReadyRows(transaction));
    for (SourceRow& row : rows) records.push_back(std::move(row.record));
    return absl::OkStatus();
  }));
  return records;
}

}  // namespace kdbg::source
