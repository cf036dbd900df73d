// Objects from a stranger, apart from the repository until they are known to be good. git sees
// nothing of the repository here but what was copied in by name, so that no delta, no patch and no
// link can reach an object its sender may not read. Gone with this, unless published.
//
// One thread; blocks for git.
#pragma once

#include <filesystem>
#include <span>
#include <stop_token>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"
#include "server/source/archive_reader.h"
#include "server/source/git.h"
#include "server/source/object_id.h"

namespace kdbg::source {

class Quarantine {
 public:
  // Below the repository, so that publishing is a rename.
  static absl::StatusOr<Quarantine> Make(const std::filesystem::path& repository);
  // What quarantines of a daemon that was killed left in this repository.
  static void RemoveLeftovers(const std::filesystem::path& repository);
  Quarantine(Quarantine&& other) noexcept;
  Quarantine& operator=(Quarantine&&) = delete;
  ~Quarantine();

  // git with the objects that came in, and those that were copied.
  Git git() const { return Git(repository_, directory_ / "objects", directory_ / "copies"); }

  // Where what comes in goes.
  std::filesystem::path git_objects() const { return directory_ / "objects"; }

  // Copies these objects, which are in the repository and which the sender must be known to have
  // the right to.
  absl::Status Copy(std::span<const ObjectId> objects, const std::stop_token& stop);

  // Takes a pack from the file's start on, whose deltas may build on copies.
  // What the objects hold is not looked at.
  //   INVALID_ARGUMENT     (kPackInvalid) no pack, damaged or beyond `limits`
  //   FAILED_PRECONDITION  (kObjectsMissing) it builds on an object that was not copied
  absl::Status ReceivePack(const UniqueFd& pack, const ArchiveLimits& limits,
                           const std::stop_token& stop);

  // Makes one pack of objects that git wrote here one by one.
  absl::Status PackObjects(const std::stop_token& stop);

  // A folder for what git works on beside objects.
  std::filesystem::path scratch() const { return directory_ / "scratch"; }

  // Moves the packs that came in, without the copies, to the repository.
  absl::Status Publish();

 private:
  Quarantine(std::filesystem::path repository, std::filesystem::path directory)
      : repository_(std::move(repository)), directory_(std::move(directory)) {}

  std::filesystem::path repository_;
  std::filesystem::path directory_;  // empty: moved from
};

}  // namespace kdbg::source
