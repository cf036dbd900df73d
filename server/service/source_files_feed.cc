#include "server/service/source_files_feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"
#include "server/source/tree_reader.h"

namespace kdbg::service {
namespace {

constexpr std::size_t kMaxPaths = 256;
constexpr std::size_t kMaxPathBytes = 4096;
constexpr std::size_t kChunkBytes = 64 << 10;

class SourceFilesFeed final : public Feed<v1::SourceFileChunk> {
 public:
  SourceFilesFeed(source::TreeReader reader, std::vector<std::string> paths)
      : reader_(std::move(reader)), paths_(std::move(paths)) {}

  absl::StatusOr<Pull> Next(v1::SourceFileChunk* next) override {
    if (next_path_ == paths_.size()) return Pull::kEnd;
    next->set_path(paths_[next_path_]);
    if (!content_) {
      absl::StatusOr<std::string> content = reader_.Read(paths_[next_path_]);
      if (absl::IsNotFound(content.status())) {
        next->set_missing(true);
        next->set_last(true);
        ++next_path_;
        return Pull::kMessage;
      }
      if (!content.ok()) return content.status();
      content_ = *std::move(content);
      offset_ = 0;
    }
    const std::size_t count = std::min(kChunkBytes, content_->size() - offset_);
    next->set_offset_bytes(static_cast<std::int64_t>(offset_));
    next->set_data(content_->substr(offset_, count));
    offset_ += count;
    if (offset_ == content_->size()) {
      next->set_last(true);
      content_.reset();
      ++next_path_;
    }
    return Pull::kMessage;
  }

 private:
  source::TreeReader reader_;
  const std::vector<std::string> paths_;
  std::size_t next_path_ = 0;
  std::optional<std::string> content_;  // of the path in progress
  std::size_t offset_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Feed<v1::SourceFileChunk>>> OpenSourceFiles(
    const source::ObjectDatabase& objects, const source::SourceRecord& source,
    std::vector<std::string> paths) {
  if (paths.empty() || paths.size() > kMaxPaths) {
    return InvalidField("paths", std::to_string(paths.size()),
                        fmt::format("paths holds {}; 1 to {} are taken", paths.size(), kMaxPaths));
  }
  for (const std::string& path : paths) {
    // git's batch protocol is one line a name.
    if (path.empty() || path.size() > kMaxPathBytes ||
        path.find_first_of(std::string_view("\n\r\0", 3)) != std::string::npos) {
      return InvalidField("paths", path.substr(0, 128), "paths holds something that is no path");
    }
  }
  if (source.state != source::SourceState::kReady) {
    const std::string name = ResourceName(kSources, source.id);
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                     fmt::format("{} is not ready: wait until its import has ended", name),
                     {{"resource", name}});
  }
  KDBG_ASSIGN_OR_RETURN(source::TreeReader reader, objects.OpenTree(source.tree));
  return std::make_unique<SourceFilesFeed>(std::move(reader), std::move(paths));
}

}  // namespace kdbg::service
