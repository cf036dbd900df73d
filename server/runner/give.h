// What a launching process needs to know and do about the uid of a build. Runs as root, in a
// process of one thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace kdbg::runner {

// What `path_fd` (O_PATH) names, and whatever user `from` put directly into it, with the
// directories among that in full, becomes `uid`'s. Things of other owners stay as they are and are
// not entered, links are not followed, and a file with a second name elsewhere is left alone: the
// tree may be the work of a hostile build.
absl::Status GiveTo(int path_fd, uid_t from, uid_t uid, gid_t gid);

// How many threads `uid` has on this host.
int ThreadsOf(uid_t uid);

// OK as well when the file is not there.
absl::Status WriteFileIfThere(const std::string& path, std::string_view content);

}  // namespace kdbg::runner
