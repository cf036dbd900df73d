// What a template consists of, as the text that is stored beside it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/guest/ram_image.h"

namespace kdbg::guest {

struct TemplateManifest {
  std::string key;
  std::string stopped_at;
  std::int64_t memory_bytes = 0;
  KeeperMark keeper;
  std::string memory_digest;
  std::string state_digest;
};

// Ends with a digest of the rest: memory and state belong together as named or not at all.
std::string FormatManifest(const TemplateManifest& manifest);
// DATA_LOSS (kDataCorrupt) for anything FormatManifest has not written.
absl::StatusOr<TemplateManifest> ParseManifest(std::string_view text);

}  // namespace kdbg::guest
