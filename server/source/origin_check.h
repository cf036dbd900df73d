// Whether what a caller names as a source is well formed and theirs to use, before anything is
// recorded of it. Thread-safe; blocks for the disk.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"
#include "server/source/source_catalog.h"
#include "server/source/upload_store.h"
#include "server/state/database.h"

namespace kdbg::source {

struct IncomingSource {
  SourceOrigin origin;     // completed
  bool has_bytes = false;  // the caller has shown that they have them
  UniqueFd fd;             // of a server path
};

class OriginCheck {
 public:
  OriginCheck(state::Database& database, UploadStore& uploads,
              std::span<const std::filesystem::path> allowed_paths,
              std::span<const std::string> allowed_urls)
      : database_(database),
        uploads_(uploads),
        allowed_paths_(allowed_paths),
        allowed_urls_(allowed_urls) {}

  // INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED as SourceCatalog::Create says.
  absl::StatusOr<IncomingSource> Check(const SourceRequest& request) const;

 private:
  absl::StatusOr<IncomingSource> CheckTarball(std::string_view owner,
                                              const SourceOrigin& origin) const;
  absl::StatusOr<IncomingSource> CheckServerPath(const SourceOrigin& origin,
                                                 std::optional<uid_t> reader) const;
  absl::StatusOr<IncomingSource> CheckGitPack(std::string_view owner,
                                              const SourceOrigin& origin) const;
  absl::StatusOr<IncomingSource> CheckUrl(const SourceOrigin& origin) const;
  absl::StatusOr<IncomingSource> CheckPatched(const SourceRequest& request) const;

  state::Database& database_;
  UploadStore& uploads_;
  const std::span<const std::filesystem::path> allowed_paths_;
  const std::span<const std::string> allowed_urls_;
};

}  // namespace kdbg::source
