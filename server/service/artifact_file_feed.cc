#include "server/service/artifact_file_feed.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/errno_status.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "server/service/compressed_feed.h"

namespace kdbg::service {
namespace {

constexpr std::int64_t kChunkBytes = 256 << 10;

absl::Status Corrupt(const store::ArtifactFile& file) {
  return MakeError(
      absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
      fmt::format("the stored bytes of {} no longer match their digest: build again", file.path),
      {{"digest", file.digest}});
}

class ArtifactFileFeed final : public Feed<v1::ArtifactFileChunk> {
 public:
  ArtifactFileFeed(UniqueFd fd, store::ArtifactFile file, std::int64_t offset, std::int64_t end)
      : fd_(std::move(fd)), file_(std::move(file)), offset_(offset), end_(end) {
    if (offset == 0 && end == file_.size_bytes) hash_.emplace();
  }

  absl::StatusOr<Pull> Next(v1::ArtifactFileChunk* next) override {
    if (offset_ == end_) {
      if (hash_ && hash_->FinishHex() != file_.digest) return Corrupt(file_);
      return Pull::kEnd;
    }
    std::string& data = *next->mutable_data();
    data.resize(static_cast<std::size_t>(std::min(kChunkBytes, end_ - offset_)));
    ssize_t count = 0;
    do {
      count = ::pread(fd_.get(), data.data(), data.size(), offset_);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return ErrnoError(errno, fmt::format("read {}", file_.path));
    if (count == 0) return Corrupt(file_);  // shorter than its record says
    data.resize(static_cast<std::size_t>(count));
    if (hash_) hash_->Update(data);
    next->set_offset_bytes(offset_);
    offset_ += count;
    return Pull::kMessage;
  }

 private:
  const UniqueFd fd_;
  const store::ArtifactFile file_;
  std::int64_t offset_;
  const std::int64_t end_;
  std::optional<Sha256> hash_;
};

absl::Status NoSuchFile(const store::Artifact& artifact, const std::string& path) {
  std::string names;
  for (const store::ArtifactFile& file : artifact.files) {
    names += names.empty() ? file.path : ", " + file.path;
  }
  const std::string resource = ResourceName(kArtifacts, artifact.id);
  return MakeError(absl::StatusCode::kNotFound, Reason::kResourceNotFound,
                   fmt::format("{} has no file '{}'; it has: {}", resource, path, names),
                   {{"resource", resource}, {"path", path}});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Feed<v1::ArtifactFileChunk>>> OpenArtifactFile(
    const store::BlobStore& blobs, const store::Artifact& artifact,
    const v1::ReadArtifactFileRequest& request, const std::optional<store::ArtifactFile>& base) {
  const std::string& path = request.path();
  const std::int64_t offset = request.offset_bytes();
  const std::int64_t limit = request.limit_bytes();
  const store::ArtifactFile* file = artifact.FindFile(path);
  if (file == nullptr) return NoSuchFile(artifact, path);
  if (limit < 0) {
    return InvalidField("limit_bytes", std::to_string(limit), "limit_bytes is negative");
  }
  if (offset < 0 || offset > file->size_bytes) {
    return MakeError(
        absl::StatusCode::kOutOfRange, Reason::kOffsetOutOfRange,
        fmt::format("{} has {} bytes; offset {} is not in it", path, file->size_bytes, offset),
        {{"offset", std::to_string(offset)}, {"size", std::to_string(file->size_bytes)}});
  }
  const std::int64_t rest = file->size_bytes - offset;
  const std::int64_t end = offset + (limit == 0 ? rest : std::min(limit, rest));
  KDBG_ASSIGN_OR_RETURN(UniqueFd fd, blobs.OpenBlob({file->digest, file->size_bytes}));
  if (request.zstd()) {
    KDBG_ASSIGN_OR_RETURN(MappedFile content, MappedFile::Map(fd.get()));
    CompressedFile compressed{.content = std::move(content),
                              .begin = offset,
                              .end = end,
                              .digest = file->digest,
                              .base = std::nullopt,
                              .base_digest = {}};
    if (base) {
      KDBG_ASSIGN_OR_RETURN(const UniqueFd base_fd,
                            blobs.OpenBlob({base->digest, base->size_bytes}));
      KDBG_ASSIGN_OR_RETURN(compressed.base, MappedFile::Map(base_fd.get()));
      compressed.base_digest = base->digest;
    }
    return CompressedFeed(std::move(compressed));
  }
  return std::make_unique<ArtifactFileFeed>(std::move(fd), *file, offset, end);
}

}  // namespace kdbg::service
