#include "server/source/quarantine.h"

#include <endian.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFolder = "incoming";
constexpr std::size_t kShownBytes = 600;
// Of all folders of a source. Linux has 4 MB of them.
constexpr std::int64_t kTreeBytes = std::int64_t{1} << 30;
constexpr std::int64_t kLargestTreeBytes = std::int64_t{32} << 20;
constexpr std::size_t kHeaderBytes = 12;

absl::Status PackInvalid(std::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kPackInvalid,
                   fmt::format("not a pack of git objects that can be taken: {}; send it again",
                               ShortUtf8(why, kShownBytes)));
}

// A few bytes of delta can ask for any amount of memory and time. A pack that is what it should be
// needs less than 1 s for each 10 MB.
std::int64_t SecondsFor(std::int64_t pack_bytes) { return 30 + (pack_bytes >> 20); }

// What index-pack complained of: a base that is not there is no damage.
absl::Status RefusedPack(const absl::Status& status) {
  if (!absl::IsInternal(status)) return status;
  const std::string text(status.message());
  if (text.find("unresolved delta") == std::string::npos) return PackInvalid(text);
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kObjectsMissing,
                   "the pack builds on objects that are neither in it nor known here: ask again "
                   "what is known, and send a pack that needs no more than that");
}

// The file's size.
absl::StatusOr<std::int64_t> CheckHeader(const UniqueFd& pack, const ArchiveLimits& limits) {
  struct stat status {};
  if (::fstat(pack.get(), &status) != 0) return DiskError(errno, "stat", "the pack");
  std::array<char, kHeaderBytes> header{};
  const ssize_t n = ::pread(pack.get(), header.data(), header.size(), 0);
  if (n < 0) return DiskError(errno, "read", "the pack");
  std::uint32_t version = 0;
  std::uint32_t count = 0;
  std::memcpy(&version, header.data() + 4, sizeof version);
  std::memcpy(&count, header.data() + 8, sizeof count);
  if (n != static_cast<ssize_t>(kHeaderBytes) || std::memcmp(header.data(), "PACK", 4) != 0 ||
      be32toh(version) != 2) {
    return PackInvalid("it does not begin as one of version 2 does");
  }
  // As many folders as files.
  if (be32toh(count) > 2 * limits.maximum_members) {
    return PackInvalid(fmt::format("it holds more than {} objects", 2 * limits.maximum_members));
  }
  return status.st_size;
}

// Lines of "<type> <size>": nothing may be large enough to make trouble when it is read.
absl::Status CheckContents(std::string_view listing, const ArchiveLimits& limits) {
  std::int64_t trees = 0;
  std::int64_t blobs = 0;
  while (!listing.empty()) {
    const std::size_t end = std::min(listing.find('\n'), listing.size());
    const std::string_view line = listing.substr(0, end);
    listing.remove_prefix(std::min(end + 1, listing.size()));
    const std::size_t space = std::min(line.find(' '), line.size() - 1);
    std::int64_t size = 0;
    std::from_chars(line.data() + space + 1, line.data() + line.size(), size);
    const std::string_view type = line.substr(0, space);
    if (type == "tree") {
      trees += size;
      if (size > kLargestTreeBytes || trees > kTreeBytes) {
        return PackInvalid("its folders are too large");
      }
    } else if (type == "blob") {
      blobs += size;
      if (size > limits.maximum_member_bytes || blobs > limits.maximum_bytes) {
        return PackInvalid(fmt::format("it unpacks to more than {} bytes, or one file of it to {}",
                                       limits.maximum_bytes, limits.maximum_member_bytes));
      }
    } else {
      return PackInvalid(fmt::format("it holds a {}, where only trees and blobs belong", type));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Quarantine> Quarantine::Make(const fs::path& repository) {
  const fs::path parent = repository / kFolder;
  KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(parent, 0700), parent));
  std::string name = parent / "XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) return DiskError(errno, "mkdir", parent);
  Quarantine quarantine(repository, name);
  for (const char* folder : {"objects/pack", "copies/pack", "scratch"}) {
    KDBG_RETURN_IF_ERROR(
        WithDiskReason(MakeDirectories(quarantine.directory_ / folder, 0700), parent));
  }
  return quarantine;
}

void Quarantine::RemoveLeftovers(const fs::path& repository) {
  std::error_code ignored;
  fs::remove_all(repository / kFolder, ignored);
}

Quarantine::Quarantine(Quarantine&& other) noexcept
    : repository_(std::move(other.repository_)), directory_(std::move(other.directory_)) {
  other.directory_.clear();
}

Quarantine::~Quarantine() {
  if (directory_.empty()) return;
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

absl::Status Quarantine::Copy(std::span<const ObjectId> objects, const std::stop_token& stop) {
  if (objects.empty()) return absl::OkStatus();
  std::string ids;
  for (const ObjectId& id : objects) ids += id.Hex() + "\n";
  const UniqueFd pack(
      ::open((directory_ / "copies.pack").c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!pack) return DiskError(errno, "create", directory_);
  Subprocess::Options make = Git(repository_)
                                 .Command({"-c", "core.compression=0", "pack-objects", "--stdout",
                                           "-q", "--window=0", "--threads=1"});
  make.descriptors = {{1, pack.get()}};
  KDBG_RETURN_IF_ERROR(Git::Run(std::move(make), stop, std::move(ids)).status());
  if (::lseek(pack.get(), 0, SEEK_SET) != 0) return DiskError(errno, "seek", directory_);
  Subprocess::Options index =
      Git(repository_, directory_ / "copies", "").Command({"index-pack", "--stdin"});
  index.descriptors = {{0, pack.get()}};
  return Git::Run(std::move(index), stop).status();
}

absl::Status Quarantine::ReceivePack(const UniqueFd& pack, const ArchiveLimits& limits,
                                     const std::stop_token& stop) {
  KDBG_ASSIGN_OR_RETURN(const std::int64_t size, CheckHeader(pack, limits));
  if (::lseek(pack.get(), 0, SEEK_SET) != 0) return DiskError(errno, "seek", "the pack");
  // Without --fsck-objects: it wants to read each .gitattributes and .gitmodules that a tree names,
  // which need not come again. TreeWalk checks what we need of trees.
  Subprocess::Options index =
      Git::Limited(git().Command({"index-pack", "--stdin", "--fix-thin"}), SecondsFor(size));
  index.descriptors = {{0, pack.get()}};
  KDBG_RETURN_IF_ERROR(RefusedPack(Git::Run(std::move(index), stop).status()));
  KDBG_ASSIGN_OR_RETURN(
      const std::string listing,
      Git::Run(Git(repository_, directory_ / "objects", "")
                   .Command({"cat-file", "--batch-all-objects", "--unordered", "--buffer",
                             "--batch-check=%(objecttype) %(objectsize)"}),
               stop));
  return CheckContents(listing, limits);
}

absl::Status Quarantine::PackObjects(const std::stop_token& stop) {
  const Git own(repository_, directory_ / "objects", "");
  KDBG_ASSIGN_OR_RETURN(std::string ids,
                        Git::Run(own.Command({"cat-file", "--batch-all-objects", "--unordered",
                                              "--batch-check=%(objectname)"}),
                                 stop));
  if (ids.empty()) return absl::OkStatus();
  const fs::path base = directory_ / "objects" / "pack" / "pack";
  return Git::Run(own.Command({"pack-objects", "-q", "--threads=1", base.string()}), stop,
                  std::move(ids))
      .status();
}

absl::Status Quarantine::Publish() {
  const fs::path from = directory_ / "objects" / "pack";
  const fs::path to = repository_ / "objects" / "pack";
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(from, error)) files.push_back(entry.path());
  // A pack exists for git once its index does.
  for (const bool is_index : {false, true}) {
    for (const fs::path& file : files) {
      if ((file.extension() == ".idx") != is_index) continue;
      if (!error) fs::rename(file, to / file.filename(), error);
    }
  }
  return error ? DiskError(error.value(), "rename", to) : absl::OkStatus();
}

}  // namespace kdbg::source
