// The end of a saved state is written by QEMU, but holds what a guest had in its memory.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "server/guest/saved_state.h"
#include "server/guest/template_manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto found = kdbg::guest::FindRunState(input);
  // What is overwritten there lies within.
  if (found && (*found < 4 || *found + 100 > size)) std::abort();
  const auto manifest = kdbg::guest::ParseManifest(input);
  if (manifest.ok() && kdbg::guest::FormatManifest(*manifest) != input) std::abort();
  return 0;
}
