#include "server/source/archive_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <locale.h>
#include <strings.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"

namespace kdbg::source {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;
constexpr std::size_t kDataBytes = std::size_t{256} << 10;
constexpr std::size_t kTarBlock = 512;
constexpr std::size_t kShownBytes = 400;

// libarchive takes member names through the thread's locale and loses every byte above 127 in "C".
class Utf8Locale {
 public:
  Utf8Locale() : before_(::uselocale(Locale())) {}
  ~Utf8Locale() { ::uselocale(before_); }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  static locale_t Locale() {
    static const locale_t utf8 = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return utf8;
  }
  const locale_t before_;
};

absl::Status Unsafe(std::string_view member, std::string_view why) {
  const std::string name = ShortUtf8(member, kShownBytes);
  return MakeError(
      absl::StatusCode::kInvalidArgument, Reason::kArchiveUnsafeMember,
      fmt::format("the tarball's member \"{}\" {}; nothing of it was imported", name, why),
      {{"member", name}});
}

absl::Status TooLarge(std::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kArchiveTooLarge,
                   fmt::format("the tarball {}; leave out what the build does not need", what));
}

std::vector<std::string_view> Components(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.push_back(part);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return parts;
}

std::string Join(const std::vector<std::string_view>& parts) {
  std::string path;
  for (const std::string_view part : parts) {
    if (!path.empty()) path += '/';
    path += part;
  }
  return path;
}

// git would take it for a repository's own folder; so would a file system that folds case.
bool IsGitFolder(std::string_view part) {
  return part.size() == 4 && ::strncasecmp(part.data(), ".git", 4) == 0;
}

// nullptr becomes empty.
std::string_view OrEmpty(const char* text) { return text == nullptr ? "" : text; }

}  // namespace

// Between the decompressor and the tar: its error, and how the plain bytes end.
struct ArchiveReader::Input {
  explicit Input(ByteSource source) : decompressor(std::move(source)) {}

  Decompressor decompressor;
  absl::Status error;
  bool at_end = false;
  std::vector<char> buffer = std::vector<char>(kBlockBytes);
  std::array<char, kTarBlock> tail{};  // the last bytes read

  absl::StatusOr<std::size_t> Fill() {
    const absl::StatusOr<std::size_t> size = decompressor.Read(buffer.data(), buffer.size());
    if (!size.ok()) return size;
    at_end = *size == 0;
    const std::size_t fresh = std::min(*size, kTarBlock);
    std::copy(tail.begin() + static_cast<std::ptrdiff_t>(fresh), tail.end(), tail.begin());
    std::copy_n(buffer.data() + (*size - fresh), fresh,
                tail.end() - static_cast<std::ptrdiff_t>(fresh));
    return size;
  }

  static la_ssize_t Read(archive* archive, void* self, const void** block) {
    auto* input = static_cast<Input*>(self);
    const absl::StatusOr<std::size_t> size = input->Fill();
    if (!size.ok()) {
      input->error = size.status();
      archive_set_error(archive, EIO, "the source failed");
      return ARCHIVE_FATAL;
    }
    *block = input->buffer.data();
    return static_cast<la_ssize_t>(*size);
  }
};

ArchiveReader::ArchiveReader(ByteSource source, const ArchiveLimits& limits)
    : limits_(limits),
      input_(std::make_unique<Input>(std::move(source))),
      archive_(archive_read_new()) {}

ArchiveReader::~ArchiveReader() { archive_read_free(archive_); }

std::unique_ptr<ArchiveReader> ArchiveReader::Open(ByteSource source, const ArchiveLimits& limits) {
  std::unique_ptr<ArchiveReader> reader(new ArchiveReader(std::move(source), limits));
  archive_read_support_format_tar(reader->archive_);
  const Utf8Locale locale;
  // A failure here shows again, with its message, at the first header.
  archive_read_open(reader->archive_, reader->input_.get(), nullptr, &Input::Read, nullptr);
  return reader;
}

absl::Status ArchiveReader::ReadError() const {
  if (!input_->error.ok()) return input_->error;
  const std::string text = ValidUtf8(OrEmpty(archive_error_string(archive_)));
  const bool is_tar = entries_ > 0;
  if (is_tar && input_->at_end) return ArchiveTruncated();
  return NotAnArchive(is_tar ? "damaged: " + text : text);
}

absl::StatusOr<std::optional<ArchiveMember>> ArchiveReader::Next() {
  const Utf8Locale locale;
  for (;;) {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(archive_, &entry);
    if (result == ARCHIVE_EOF) {
      KDBG_RETURN_IF_ERROR(AtEnd());
      if (!one_top_) top_.clear();
      return std::nullopt;
    }
    // A warning is about something we do not use (times, owners) or about a name that is then
    // empty.
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) return ReadError();
    if (++entries_ > limits_.maximum_members) {
      return TooLarge(fmt::format("has more than {} members", limits_.maximum_members));
    }
    KDBG_ASSIGN_OR_RETURN(std::optional<ArchiveMember> member, Check(entry));
    if (member) return member;
  }
}

absl::Status ArchiveReader::AtEnd() {
  // A tar ends with zero blocks; one cut between two members would pass for whole without them. Nor
  // is the end of the tar that of the compressed bytes, whose checksum comes behind it.
  const auto is_zero = [](char c) { return c == 0; };
  if (entries_ > 0 && input_->at_end &&
      !std::all_of(input_->tail.begin(), input_->tail.end(), is_zero)) {
    return ArchiveTruncated();
  }
  while (!input_->at_end) KDBG_RETURN_IF_ERROR(input_->Fill().status());
  if (members_ == 0) return NotAnArchive("there is no file in it");
  if (one_top_ && !link_to_beside_top_.empty()) {
    return Unsafe(link_to_beside_top_, "is a link out of the tree");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<ArchiveMember>> ArchiveReader::Check(archive_entry* entry) {
  current_size_ = 0;
  const std::string_view name = OrEmpty(archive_entry_pathname(entry));
  const auto type = archive_entry_filetype(entry);
  const char* hardlink = archive_entry_hardlink(entry);
  const std::vector<std::string_view> parts = Components(name);
  if (name.empty()) return Unsafe(name, "has no name");
  if (name.front() == '/') return Unsafe(name, "has an absolute name");
  for (const std::string_view part : parts) {
    if (part == "..") return Unsafe(name, "climbs out of the tree");
  }
  const bool is_folder = hardlink == nullptr && type == AE_IFDIR;
  if (parts.empty() && !is_folder) return Unsafe(name, "has no name");
  if (static_cast<int>(parts.size()) > limits_.maximum_depth || name.size() > 4095) {
    return TooLarge(
        fmt::format("has a member nested deeper than {} folders or with a name beyond "
                    "4095 bytes",
                    limits_.maximum_depth));
  }
  const bool is_source = limits_.kind == TreeKind::kSource;
  if (is_source && std::any_of(parts.begin(), parts.end(), IsGitFolder)) return std::nullopt;
  ArchiveMember member;
  member.path = Join(parts);
  KDBG_RETURN_IF_ERROR(CheckPath(member.path));
  if (is_folder && (is_source || parts.empty())) return std::nullopt;  // git keeps none
  if (!is_folder) ForgetReplaced(member.path);
  KDBG_RETURN_IF_ERROR(Classify(entry, member));
  if (member.kind == MemberKind::kSymlink) {
    links_.insert(member.path);
  } else {
    links_.erase(member.path);
  }
  NoteTop(member.path);
  ++members_;
  return member;
}

absl::Status ArchiveReader::Classify(archive_entry* entry, ArchiveMember& member) {
  const auto type = archive_entry_filetype(entry);
  const char* hardlink = archive_entry_hardlink(entry);
  member.mode = static_cast<int>(archive_entry_perm(entry) & 07777);
  if (hardlink != nullptr) {
    member.kind = MemberKind::kHardlink;
    member.target = Join(Components(hardlink));
    if (!files_.contains(member.target)) {
      return Unsafe(member.path,
                    "is a hard link to something that is no earlier file of the tarball");
    }
    files_.insert(member.path);
    return absl::OkStatus();
  }
  if (type == AE_IFREG) {
    member.kind = (member.mode & 0111) != 0 ? MemberKind::kExecutable : MemberKind::kFile;
    member.size_bytes = archive_entry_size(entry);
    files_.insert(member.path);
    return CheckSize(member);
  }
  files_.erase(member.path);
  if (type == AE_IFLNK) {
    member.kind = MemberKind::kSymlink;
    member.target = OrEmpty(archive_entry_symlink(entry));
    return CheckLinkTarget(member);
  }
  if (limits_.kind == TreeKind::kSource || type == AE_IFIFO || type == AE_IFSOCK) {
    return Unsafe(member.path, "is a device node, pipe or socket");
  }
  if (type == AE_IFDIR) {
    member.kind = MemberKind::kFolder;
    return absl::OkStatus();
  }
  member.kind = type == AE_IFCHR ? MemberKind::kCharacterDevice : MemberKind::kBlockDevice;
  member.device_major = static_cast<int>(archive_entry_rdevmajor(entry));
  member.device_minor = static_cast<int>(archive_entry_rdevminor(entry));
  return absl::OkStatus();
}

absl::Status ArchiveReader::CheckPath(const std::string& path) const {
  for (std::size_t slash = path.find('/'); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    if (links_.contains(std::string_view(path).substr(0, slash))) {
      return Unsafe(path, "lies behind a link");
    }
  }
  return absl::OkStatus();
}

void ArchiveReader::ForgetReplaced(const std::string& path) {
  // A file where a folder was, or the other way round: what was there is gone.
  const std::string below = path + "/";
  for (auto it = files_.lower_bound(below); it != files_.end() && it->starts_with(below);) {
    it = files_.erase(it);
  }
  for (std::size_t slash = path.find('/'); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    const auto file = files_.find(std::string_view(path).substr(0, slash));
    if (file != files_.end()) files_.erase(file);
  }
}

absl::Status ArchiveReader::CheckLinkTarget(const ArchiveMember& link) {
  const std::vector<std::string_view> parts = Components(link.target);
  if (link.target.empty()) return Unsafe(link.path, "is a link to nothing");
  if (limits_.kind == TreeKind::kRoot) return absl::OkStatus();
  if (link.target.front() == '/') return Unsafe(link.path, "is a link to an absolute name");
  // Only leading ".." are taken. They climb from the link's own folder, which is a real one, and
  // every link met on the way down obeys the same rule: so no chain of links can leave the tree.
  const auto depth = std::count(link.path.begin(), link.path.end(), '/');
  const auto climbs = static_cast<std::ptrdiff_t>(
      std::find_if(parts.begin(), parts.end(), [](auto part) { return part != ".."; }) -
      parts.begin());
  if (std::find(parts.begin() + climbs, parts.end(), "..") != parts.end()) {
    return Unsafe(link.path, "is a link that goes down and up again");
  }
  if (climbs > depth) return Unsafe(link.path, "is a link out of the tree");
  // Good only if the top folder stays: known at the end.
  if (climbs == depth && depth > 0) link_to_beside_top_ = link.path;
  return absl::OkStatus();
}

absl::Status ArchiveReader::CheckSize(const ArchiveMember& member) {
  current_size_ = member.size_bytes;
  bytes_ += member.size_bytes;
  if (member.size_bytes > limits_.maximum_member_bytes) {
    return TooLarge(
        fmt::format("has a member of more than {} bytes", limits_.maximum_member_bytes));
  }
  if (bytes_ > limits_.maximum_bytes) {
    return TooLarge(fmt::format("holds more than {} bytes", limits_.maximum_bytes));
  }
  return absl::OkStatus();
}

void ArchiveReader::NoteTop(const std::string& path) {
  const std::size_t slash = path.find('/');
  const std::string_view top = std::string_view(path).substr(0, slash);
  if (slash == std::string::npos || (members_ > 0 && top != top_)) one_top_ = false;
  if (members_ == 0) top_ = top;
}

absl::Status ArchiveReader::ReadData(absl::FunctionRef<absl::Status(std::string_view)> sink) {
  std::vector<char> buffer(
      std::min(kDataBytes, static_cast<std::size_t>(std::max<std::int64_t>(current_size_, 1))));
  std::int64_t left = current_size_;
  while (left > 0) {
    const la_ssize_t n = archive_read_data(archive_, buffer.data(), buffer.size());
    if (n < 0) return ReadError();
    if (n == 0) return ArchiveTruncated();
    const auto piece = std::min<std::int64_t>(n, left);
    KDBG_RETURN_IF_ERROR(sink(std::string_view(buffer.data(), static_cast<std::size_t>(piece))));
    left -= piece;
  }
  current_size_ = 0;
  return absl::OkStatus();
}

}  // namespace kdbg::source
