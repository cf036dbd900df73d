// One `git fast-import`: files in, a commit on a ref out. Abandoned unless finished: the process is
// killed and its ref never made. One thread.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/subprocess.h"
#include "proto/support/unique_fd.h"
#include "server/source/archive_reader.h"
#include "server/source/git.h"

namespace kdbg::source {

class FastImport {
 public:
  static absl::StatusOr<FastImport> Start(const Git& git, const std::string& ref);

  // The member's bytes follow through WriteBytes, exactly size_bytes of them; links need none.
  absl::Status Add(const ArchiveMember& member);
  absl::Status WriteBytes(std::string_view bytes);
  // The ref points to the commit when this returns.
  absl::Status Finish();

 private:
  FastImport(Subprocess process, UniqueFd input, UniqueFd error);
  absl::Status Write(std::string_view bytes);
  absl::Status Flush();
  absl::Status Ended();

  Subprocess process_;
  UniqueFd input_;
  UniqueFd error_;
  std::string buffer_;
};

}  // namespace kdbg::source
