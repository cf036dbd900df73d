// A file fetched by https, by libcurl.
//
// A connection that drops is taken up again where it broke, as long as the server says that the
// file is still the same. Every redirect is held against the rules as the first address was.
// Blocks; no state, any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "proto/support/unique_fd.h"

namespace kdbg::source {

struct RemoteRules {
  std::vector<std::string> allowed_urls;  // as CheckRemoteUrl takes them
  std::filesystem::path ca_file;          // who vouches for servers; empty: the system's list
  std::filesystem::path ssh_config;       // of ssh_config(5); empty: ssh's own
  std::int64_t maximum_bytes = std::int64_t{8} << 30;
  absl::Duration pause = absl::Seconds(1);  // before the first try again; each next is twice that
};

// Into `file`, which is empty. `on_progress` is told how many bytes are there.
//   INVALID_ARGUMENT     (kArchiveTooLarge)
//   NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION  (kRemoteRefused) the server will not give
//   it,
//                        (kUrlNotAllowed) or sends us to where we may not go
//   UNAVAILABLE          (kRemoteUnavailable) the server cannot be reached, or breaks off for ever
//   RESOURCE_EXHAUSTED   (kDiskFull)
//   CANCELLED            within a second of `stop`
absl::Status Download(const std::string& url, const RemoteRules& rules, const UniqueFd& file,
                      const std::function<void(std::int64_t bytes)>& on_progress,
                      const std::stop_token& stop);

}  // namespace kdbg::source
