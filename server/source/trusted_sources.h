// Which trees everybody may profit from: an admin marked them.
//
// A tree is trusted when this service itself owns a source of it; so a trusted source is listed,
// watched and deleted like any other. What the service builds of it is for all: nothing else that
// one owner made ever reaches another. Thread-safe; calls block for the disk.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/contract/resource_name.h"
#include "server/base/clock.h"
#include "server/source/object_database.h"
#include "server/source/source_catalog.h"
#include "server/state/database.h"

namespace kdbg::source {

inline constexpr std::string_view kTrustedOwner = kServiceOwner;

class TrustedSources {
 public:
  TrustedSources(state::Database& database, ObjectDatabase& objects, const Clock& clock)
      : database_(database), objects_(objects), clock_(clock) {}

  // The service's own source of the tree behind `source_id`; the same one when asked again.
  // NOT_FOUND; FAILED_PRECONDITION (kWrongState) unless READY.
  absl::StatusOr<SourceRecord> Trust(std::string_view source_id);

  // READY ones, newest first.
  absl::StatusOr<std::vector<SourceRecord>> List() const;

 private:
  state::Database& database_;
  ObjectDatabase& objects_;
  const Clock& clock_;
};

}  // namespace kdbg::source
