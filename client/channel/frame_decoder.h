// One zstd frame in pieces to plain bytes, by itself or over a file that it was compared with.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

struct ZSTD_DCtx_s;

namespace kdbg::client {

class FrameDecoder {
 public:
  FrameDecoder();
  ~FrameDecoder();
  FrameDecoder(const FrameDecoder&) = delete;

  // Before the first piece; `base` stays as it is while this lives.
  absl::Status UseBase(std::string_view base);
  // Hands over what the piece makes plain, in bounded pieces. DATA_LOSS for what is no frame.
  absl::Status Decode(std::string_view piece,
                      const std::function<absl::Status(std::string_view)>& consume);
  // Whether the frame is whole.
  bool complete() const { return complete_; }

 private:
  ZSTD_DCtx_s* const context_;
  std::vector<char> plain_;
  bool complete_ = false;
};

}  // namespace kdbg::client
