// The memory of a guest at its stop point, as a file in memory that clones map privately.
//
// QEMU opens it by path, and for writing even where it only reads. So it is sealed memory, which
// nobody can write to any more, open in a process of the guest's uid: its keeper, a sleeping child
// whose /proc/PID/fd that uid (and root) alone can enter. A keeper outlives the daemon once the
// image is kept; before, it ends with it, however it ends.
//
// Not thread-safe, except for the const calls.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/subprocess.h"
#include "proto/support/unique_fd.h"
#include "server/host/identity.h"

namespace kdbg::guest {

// Where a kept image is found again.
struct KeeperMark {
  int pid = 0;
  std::int64_t start_ticks = 0;  // of the process, so that a reused pid is not taken for it
  std::uint64_t inode = 0;
};

class RamImage {
 public:
  // Empty, and as large as the guest's memory. `label` tells the
  // keeper to EndStrayKeepers and to people.
  static absl::StatusOr<std::unique_ptr<RamImage>> Make(std::int64_t size_bytes,
                                                        std::optional<host::Identity> run_as,
                                                        const std::filesystem::path& label);
  // The image that an earlier daemon kept.
  //   NOT_FOUND  its keeper is gone
  //   DATA_LOSS  what is there is not sealed, or not of this size
  static absl::StatusOr<std::unique_ptr<RamImage>> Adopt(const KeeperMark& mark,
                                                         std::int64_t size_bytes);
  // Ends the keeper unless the image is kept. Clones go on: they have their own mapping.
  ~RamImage();
  RamImage(const RamImage&) = delete;
  RamImage& operator=(const RamImage&) = delete;

  // For QEMU under the guest's uid.
  std::filesystem::path path() const;
  // From now on nobody can write to it.
  //   FAILED_PRECONDITION  a machine still has it mapped
  absl::Status Seal();
  // Of all that is not zero, and where; the same whatever clones have read meanwhile.
  absl::StatusOr<std::string> Digest() const;
  // How much of the host's memory it takes.
  std::int64_t resident_bytes() const;
  // Whether QEMU can still find it.
  bool reachable() const;

  KeeperMark mark() const { return mark_; }
  // From now on it outlives this process.
  absl::Status Keep();
  // Ends the keeper, kept or not.
  void Discard();

 private:
  RamImage(UniqueFd memory, std::int64_t size_bytes);

  const UniqueFd memory_;
  const std::int64_t size_bytes_;
  KeeperMark mark_;
  std::optional<Subprocess> child_;  // when it is ours
  UniqueFd pidfd_;                   // when it is an earlier daemon's
  UniqueFd lifeline_;                // its end ends a keeper that was never told to stay
  bool kept_ = false;
};

// Ends keepers that an earlier daemon left, with a label below this directory, but for those known.
void EndStrayKeepers(const std::filesystem::path& below, const std::set<int>& known);

}  // namespace kdbg::guest
