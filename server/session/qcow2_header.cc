#include "server/session/qcow2_header.h"

#include <cstdint>

namespace kdbg::session {
namespace {

// docs/interop/qcow2.txt of QEMU. All numbers are big-endian.
constexpr std::string_view kMagic("QFI\xfb", 4);
constexpr std::size_t kVersionAt = 4;
constexpr std::size_t kBackingFileAt = 8;
constexpr std::size_t kVersion2Bytes = 72;
constexpr std::size_t kIncompatibleFeaturesAt = 72;
constexpr std::uint64_t kExternalDataFile = 1u << 2;

std::uint64_t Number(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < size; ++i) {
    number = number << 8 | static_cast<unsigned char>(bytes[at + i]);
  }
  return number;
}

}  // namespace

absl::Status CheckStandsAlone(std::string_view header) {
  if (header.size() < kVersion2Bytes || !header.starts_with(kMagic)) {
    return absl::FailedPreconditionError("it is no qcow2 image");
  }
  const std::uint64_t version = Number(header, kVersionAt, 4);
  if (version != 2 && version != 3) {
    return absl::FailedPreconditionError("it is of another version of qcow2 than 2 and 3");
  }
  if (Number(header, kBackingFileAt, 8) != 0) {
    return absl::FailedPreconditionError("it has a backing file of its own");
  }
  if (version == 2) return absl::OkStatus();
  if (header.size() < kQcow2HeaderBytes) {
    return absl::FailedPreconditionError("it is no qcow2 image");
  }
  if ((Number(header, kIncompatibleFeaturesAt, 8) & kExternalDataFile) != 0) {
    return absl::FailedPreconditionError("it has a data file of its own");
  }
  return absl::OkStatus();
}

}  // namespace kdbg::session
