// Where sources may be fetched from: what a user wrote against what the admin allows. Pure; any
// thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kdbg::source {

struct RemoteUrl {
  std::string text;    // as it is fetched: normalized, without fragment
  std::string scheme;  // "https", "ssh" or "file"
  std::string path;    // "/srv/git/linux.git"
};

// `url`, when one of `allowed` is the beginning of it: the same scheme, host and port, and the same
// path or a folder above it. An allowed URL that names a user allows no other.
//   INVALID_ARGUMENT   not an absolute https, ssh or file URL; or with a password, or a path that
//                      servers may read in more than one way
//   PERMISSION_DENIED  (kUrlNotAllowed)
absl::StatusOr<RemoteUrl> CheckRemoteUrl(std::string_view field, const std::string& url,
                                         std::span<const std::string> allowed);

}  // namespace kdbg::source
