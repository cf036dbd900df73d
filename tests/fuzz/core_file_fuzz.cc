// A core holds what its guest had in memory, page tables included.
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proto/support/file.h"
#include "proto/support/unique_fd.h"
#include "server/guest/core_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const kdbg::UniqueFd file(::memfd_create("core", MFD_CLOEXEC));
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (!kdbg::WriteAll(file.get(), bytes).ok()) return 0;
  kdbg::guest::AddKernelAddresses(file.get()).IgnoreError();
  return 0;
}
