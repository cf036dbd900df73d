#include "server/service/compressed_feed.h"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <string_view>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"

namespace kdbg::service {
namespace {

constexpr std::size_t kChunkBytes = 256 << 10;
constexpr std::size_t kInputBytes = 1 << 20;
constexpr int kLevel =
    3;  // a laptop's link is slower than this; a local caller does not ask for it
constexpr int kDeltaLevel = 1;
constexpr int kLargestWindow = 30;  // what the contract promises a decoder

struct CompressorDeleter {
  void operator()(ZSTD_CCtx* context) const { ::ZSTD_freeCCtx(context); }
};

class Compressed final : public Feed<v1::ArtifactFileChunk> {
 public:
  explicit Compressed(CompressedFile file)
      : file_(std::move(file)),
        rest_(file_.content.bytes().substr(static_cast<std::size_t>(file_.begin),
                                           static_cast<std::size_t>(file_.end - file_.begin))) {
    const bool whole = rest_.size() == file_.content.bytes().size();
    if (whole) hash_.emplace();
  }

  absl::StatusOr<Pull> Next(v1::ArtifactFileChunk* next) override {
    if (context_ == nullptr) {
      KDBG_RETURN_IF_ERROR(Begin());
      next->set_zstd(true);
      if (file_.base) next->set_base_sha256(file_.base_digest);
    }
    if (!ended_) KDBG_RETURN_IF_ERROR(Fill());
    if (sent_ == ready_.size()) {
      if (hash_ && hash_->FinishHex() != file_.digest) {
        return MakeError(absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
                         "the stored bytes no longer match their digest: build again",
                         {{"digest", file_.digest}});
      }
      return Pull::kEnd;
    }
    const std::size_t size = std::min(kChunkBytes, ready_.size() - sent_);
    next->set_data(ready_.substr(sent_, size));
    sent_ += size;
    if (sent_ == ready_.size() && !ended_) {
      ready_.clear();
      sent_ = 0;
    }
    return Pull::kMessage;
  }

 private:
  absl::Status Set(ZSTD_cParameter parameter, int value) const {
    return Check(::ZSTD_CCtx_setParameter(context_.get(), parameter, value));
  }
  static absl::Status Check(std::size_t result) {
    if (::ZSTD_isError(result) == 0) return absl::OkStatus();
    return absl::InternalError(fmt::format("zstd: {}", ::ZSTD_getErrorName(result)));
  }

  absl::Status Begin() {
    context_.reset(::ZSTD_createCCtx());
    if (context_ == nullptr) return absl::ResourceExhaustedError("no memory to compress with");
    if (!file_.base) return Set(ZSTD_c_compressionLevel, kLevel);
    const std::string_view base = file_.base->bytes();
    const auto window = static_cast<int>(std::bit_width(std::max(base.size(), rest_.size())));
    KDBG_RETURN_IF_ERROR(Set(ZSTD_c_compressionLevel, kDeltaLevel));
    KDBG_RETURN_IF_ERROR(Set(ZSTD_c_windowLog, std::clamp(window, 10, kLargestWindow)));
    KDBG_RETURN_IF_ERROR(Set(ZSTD_c_enableLongDistanceMatching, 1));
    KDBG_RETURN_IF_ERROR(Check(::ZSTD_CCtx_refPrefix(context_.get(), base.data(), base.size())));
    // At once: as a stream it would copy a window as large as the file. Of room for the worst case
    // only what is written to becomes memory.
    const std::size_t bound = ::ZSTD_compressBound(rest_.size());
    const std::unique_ptr<char[]> frame(new char[bound]);
    const std::size_t size =
        ::ZSTD_compress2(context_.get(), frame.get(), bound, rest_.data(), rest_.size());
    KDBG_RETURN_IF_ERROR(Check(size));
    ready_.assign(frame.get(), size);
    if (hash_) hash_->Update(rest_);
    ended_ = true;
    return absl::OkStatus();
  }

  // Until there is something to send.
  absl::Status Fill() {
    while (ready_.size() == sent_ && !ended_) {
      const std::string_view input = rest_.substr(0, kInputBytes);
      rest_.remove_prefix(input.size());
      if (hash_) hash_->Update(input);
      const auto mode = rest_.empty() ? ZSTD_e_end : ZSTD_e_continue;
      ZSTD_inBuffer in = {input.data(), input.size(), 0};
      for (bool more = true; more;) {
        const std::size_t at = ready_.size();
        ready_.resize(at + kChunkBytes);
        ZSTD_outBuffer out = {ready_.data() + at, kChunkBytes, 0};
        const std::size_t left = ::ZSTD_compressStream2(context_.get(), &out, &in, mode);
        ready_.resize(at + out.pos);
        KDBG_RETURN_IF_ERROR(Check(left));
        more = mode == ZSTD_e_end ? left > 0 : in.pos < in.size;
      }
      ended_ = rest_.empty();
    }
    return absl::OkStatus();
  }

  const CompressedFile file_;
  std::string_view rest_;
  std::unique_ptr<ZSTD_CCtx, CompressorDeleter> context_;
  std::string ready_;
  std::size_t sent_ = 0;
  bool ended_ = false;
  std::optional<Sha256> hash_;
};

}  // namespace

std::unique_ptr<Feed<v1::ArtifactFileChunk>> CompressedFeed(CompressedFile file) {
  return std::make_unique<Compressed>(std::move(file));
}

}  // namespace kdbg::service
