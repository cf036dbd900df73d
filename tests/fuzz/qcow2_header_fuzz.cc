#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/session/qcow2_header.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)kdbg::session::CheckStandsAlone({reinterpret_cast<const char*>(data), size});
  return 0;
}
