// Patches and what git says of them: whatever the bytes, a refusal is a clear status of one kind.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "proto/contract/error.h"
#include "server/source/patches.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t split = bytes.find('\0');
  const kdbg::source::Patch patch = {.name = "fuzz", .text = std::string(bytes.substr(0, split))};
  const std::string_view complaint = split == bytes.npos ? "" : bytes.substr(split + 1);
  const absl::Status status = kdbg::source::RefusedPatch(patch, complaint);
  (void)kdbg::source::IsMail(patch.text);
  const bool known = kdbg::HasReason(status, kdbg::Reason::kPatchInvalid) ||
                     kdbg::HasReason(status, kdbg::Reason::kPatchDoesNotApply);
  if (!known) std::abort();
  return 0;
}
