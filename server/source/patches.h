// Patches over a tree: plain diffs, single mails and mailboxes, as `git apply` and `git am` take
// them. The result is a new tree; no work tree is involved.
//
// git's patches can name objects by id and so ask for their content; here it sees only the files
// the patches name, in a quarantine. Blocks for git.
#pragma once

#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/source/object_id.h"

namespace kdbg::source {

class Quarantine;

struct Patch {
  std::string name;  // for messages: a file's name
  std::string text;
};

// The tree that `patches`, applied in order to `tree`, make; new objects are in `quarantine`. The
// caller has made sure that who sent the patches may read the tree.
//   INVALID_ARGUMENT  (kPatchInvalid) a text that is no patch; (kPatchDoesNotApply) metadata patch,
//                     file and hunk say which part of which patch does not fit
absl::StatusOr<ObjectId> ApplyPatches(Quarantine& quarantine, const ObjectId& tree,
                                      std::span<const Patch> patches, const std::stop_token& stop);

// What `git apply` complained of when it refused `patch`, as the status above. Pure.
absl::Status RefusedPatch(const Patch& patch, std::string_view complaint);

// Whether a text is mail rather than a bare diff. Pure.
bool IsMail(std::string_view text);

}  // namespace kdbg::source
