#include "client/channel/frame_decoder.h"

#include <fmt/format.h>
#include <zstd.h>

#include "proto/support/status_macros.h"

namespace kdbg::client {
namespace {

constexpr int kLargestWindow = 30;  // the contract's bound

absl::Status Check(std::size_t result) {
  if (::ZSTD_isError(result) == 0) return absl::OkStatus();
  return absl::DataLossError(
      fmt::format("the server's compressed bytes cannot be read ({}): try "
                  "again",
                  ::ZSTD_getErrorName(result)));
}

}  // namespace

FrameDecoder::FrameDecoder() : context_(::ZSTD_createDCtx()), plain_(::ZSTD_DStreamOutSize()) {
  ::ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, kLargestWindow);
}

FrameDecoder::~FrameDecoder() { ::ZSTD_freeDCtx(context_); }

absl::Status FrameDecoder::UseBase(std::string_view base) {
  return Check(::ZSTD_DCtx_refPrefix(context_, base.data(), base.size()));
}

absl::Status FrameDecoder::Decode(std::string_view piece,
                                  const std::function<absl::Status(std::string_view)>& consume) {
  ZSTD_inBuffer in = {piece.data(), piece.size(), 0};
  for (bool more = true; more;) {
    if (complete_ && in.pos < in.size) return absl::DataLossError("bytes follow the file's end");
    ZSTD_outBuffer out = {plain_.data(), plain_.size(), 0};
    const std::size_t left = ::ZSTD_decompressStream(context_, &out, &in);
    KDBG_RETURN_IF_ERROR(Check(left));
    if (left == 0) complete_ = true;
    if (out.pos > 0) KDBG_RETURN_IF_ERROR(consume({plain_.data(), out.pos}));
    // A full buffer may have more behind it.
    more = in.pos < in.size || (out.pos == out.size && left != 0);
  }
  return absl::OkStatus();
}

}  // namespace kdbg::client
