#include "client/channel/frame_decoder.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <random>
#include <string>

#include "absl/status/statusor.h"

namespace kdbg::client {
namespace {

std::string Noise(std::size_t size) {
  std::mt19937 random(7);
  std::string noise;
  while (noise.size() < size) noise += static_cast<char>(random());
  return noise;
}

std::string Frame(const std::string& plain, const std::string& base = "") {
  ZSTD_CCtx* context = ::ZSTD_createCCtx();
  ::ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 27);
  ::ZSTD_CCtx_refPrefix(context, base.data(), base.size());
  std::string frame(::ZSTD_compressBound(plain.size()), 0);
  frame.resize(::ZSTD_compress2(context, frame.data(), frame.size(), plain.data(), plain.size()));
  ::ZSTD_freeCCtx(context);
  return frame;
}

absl::StatusOr<std::string> Decode(FrameDecoder& decoder, const std::string& frame,
                                   std::size_t piece) {
  std::string plain;
  for (std::size_t at = 0; at < frame.size(); at += piece) {
    const absl::Status status =
        decoder.Decode(std::string_view(frame).substr(at, piece), [&](std::string_view bytes) {
          plain += bytes;
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
  }
  return plain;
}

TEST(FrameDecoderTest, PiecesOfAnySizeMakeTheWhole) {
  const std::string plain = Noise(700'000) + std::string(5'000'000, 'x');
  const std::string frame = Frame(plain);
  for (const std::size_t piece : {std::size_t{1000}, std::size_t{65'537}, frame.size()}) {
    FrameDecoder decoder;
    EXPECT_TRUE(*Decode(decoder, frame, piece) == plain) << piece;
    EXPECT_TRUE(decoder.complete());
  }
}

TEST(FrameDecoderTest, ADifferenceIsReadOverItsBase) {
  const std::string base = Noise(1'000'000);
  const std::string plain = base.substr(0, 500'000) + "edit" + base.substr(500'000);
  const std::string frame = Frame(plain, base);
  ASSERT_LT(frame.size(), 10'000u);
  FrameDecoder decoder;
  ASSERT_TRUE(decoder.UseBase(base).ok());
  EXPECT_TRUE(*Decode(decoder, frame, 100) == plain);
}

TEST(FrameDecoderTest, WhatIsNoFrameOrFollowsItIsDataLoss) {
  FrameDecoder first;
  EXPECT_TRUE(absl::IsDataLoss(Decode(first, "no frame at all", 100).status()));
  FrameDecoder second;
  EXPECT_TRUE(absl::IsDataLoss(Decode(second, Frame("x") + "y", 100).status()));
}

TEST(FrameDecoderTest, AFrameThatIsCutOffIsNotComplete) {
  const std::string frame = Frame(Noise(1000));
  FrameDecoder decoder;
  EXPECT_TRUE(Decode(decoder, frame.substr(0, frame.size() - 1), 100).ok());
  EXPECT_FALSE(decoder.complete());
}

}  // namespace
}  // namespace kdbg::client
