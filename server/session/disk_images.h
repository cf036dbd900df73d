// The images that an admin has put where sessions may have disks on them: NAME.qcow2, or NAME.img
// and NAME.raw for plain bytes.
//
// Thread-safe: it keeps nothing of what it finds.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/vm/hypervisor.h"

namespace kdbg::session {

class DiskImages {
 public:
  // Empty: there are none.
  explicit DiskImages(std::filesystem::path directory) : directory_(std::move(directory)) {}

  // Whether a session may have a disk on it now.
  //   INVALID_ARGUMENT     kFieldInvalid; it could not be the name of one
  //   NOT_FOUND            kResourceNotFound, with those there are
  //   FAILED_PRECONDITION  kWrongState: it needs other files, or guests may not read it
  absl::Status Check(const std::string& name) const;

  // Where it is, or was when its session began. For names that Check has seen.
  vm::Disk Locate(std::string_view name) const;

  // In the order of the alphabet.
  std::vector<std::string> Names() const;

 private:
  const std::filesystem::path directory_;
};

}  // namespace kdbg::session
