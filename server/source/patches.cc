#include "server/source/patches.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/source/quarantine.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kShownBytes = 300;
// Of all files that patches touch, and of mails in one mailbox.
constexpr std::size_t kMostFiles = 100'000;
constexpr int kMostMails = 1000;
constexpr std::int64_t kCpuSeconds = 20;  // 4 MiB take less than 2

absl::Status PatchInvalid(const Patch& patch, std::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kPatchInvalid,
                   fmt::format("{}: not a patch that can be read: {}",
                               ShortUtf8(patch.name, kShownBytes), ShortUtf8(why, kShownBytes)),
                   {{"patch", ShortUtf8(patch.name, kShownBytes)}});
}

std::string_view NextLine(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

bool HasDiff(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = NextLine(text);
    if (line.starts_with("+++ ") || line.starts_with("diff --git ")) return true;
  }
  return false;
}

// The header of the hunk that begins at this line of the old file, from the patch of that file:
// "@@ -12,7 +12,8 @@ int main(void)".
std::string HunkAt(std::string_view patch, std::string_view file, std::string_view old_line) {
  const std::string from = fmt::format("@@ -{}", old_line);
  bool in_file = false;
  while (!patch.empty()) {
    const std::string_view line = NextLine(patch);
    if (line.starts_with("+++ ") || line.starts_with("--- ")) {
      // Either name is enough: the other is /dev/null for a file that comes or goes.
      const bool named = line.find(file) != std::string_view::npos;
      in_file = line.starts_with("--- ") ? named : in_file || named;
    }
    const bool here = line.starts_with(from) && line.size() > from.size() &&
                      (line[from.size()] == ',' || line[from.size()] == ' ');
    if (in_file && here) return std::string(line);
  }
  return fmt::format("@@ -{} @@", old_line);
}

// The mail's body from "---" on, decoded; what `git am` would apply.
class Mailbox {
 public:
  Mailbox(const Quarantine& quarantine, const std::stop_token& stop)
      : quarantine_(quarantine), stop_(stop) {}

  absl::StatusOr<std::vector<Patch>> Split(const Patch& box) const;

 private:
  absl::StatusOr<Patch> Decode(const Patch& box, const fs::path& mail) const;

  const Quarantine& quarantine_;
  const std::stop_token& stop_;
};

absl::StatusOr<std::vector<Patch>> Mailbox::Split(const Patch& box) const {
  const fs::path folder = quarantine_.scratch() / "mails";
  std::error_code error;
  fs::remove_all(folder, error);
  KDBG_RETURN_IF_ERROR(MakeDirectories(folder, 0700));
  const auto count =
      Git::Run(Git::Limited(quarantine_.git().Command(
                                {"mailsplit", "-b", "--keep-cr", "-d4", "-o" + folder.string()}),
                            kCpuSeconds),
               stop_, box.text);
  if (absl::IsInternal(count.status()))
    return PatchInvalid(box, std::string(count.status().message()));
  KDBG_RETURN_IF_ERROR(count.status());
  std::vector<fs::path> mails;
  for (const auto& entry : fs::directory_iterator(folder, error)) mails.push_back(entry.path());
  std::sort(mails.begin(), mails.end());
  if (mails.size() > kMostMails) {
    return PatchInvalid(box, fmt::format("it holds more than {} mails", kMostMails));
  }
  std::vector<Patch> patches;
  for (const fs::path& mail : mails) {
    KDBG_ASSIGN_OR_RETURN(Patch patch, Decode(box, mail));
    // A cover letter has nothing to apply.
    if (HasDiff(patch.text)) patches.push_back(std::move(patch));
  }
  if (patches.empty()) return PatchInvalid(box, "its mails hold no patch");
  return patches;
}

absl::StatusOr<Patch> Mailbox::Decode(const Patch& box, const fs::path& mail) const {
  KDBG_ASSIGN_OR_RETURN(std::string text, kdbg::ReadFile(mail, box.text.size() + 1));
  const fs::path message = quarantine_.scratch() / "message";
  const fs::path diff = quarantine_.scratch() / "diff";
  const auto information =
      Git::Run(Git::Limited(quarantine_.git().Command({"mailinfo", "--no-scissors", message, diff}),
                            kCpuSeconds),
               stop_, std::move(text));
  if (absl::IsInternal(information.status())) {
    return PatchInvalid(box, std::string(information.status().message()));
  }
  KDBG_RETURN_IF_ERROR(information.status());
  Patch patch;
  patch.name = box.name;
  constexpr std::string_view kSubject = "Subject: ";
  for (std::string_view lines = *information; !lines.empty();) {
    const std::string_view line = NextLine(lines);
    if (!line.starts_with(kSubject)) continue;
    patch.name += fmt::format(" (\"{}\")", ShortUtf8(line.substr(kSubject.size()), kShownBytes));
  }
  KDBG_ASSIGN_OR_RETURN(patch.text, kdbg::ReadFile(diff, 2 * box.text.size() + 1));
  return patch;
}

class Application {
 public:
  Application(Quarantine& quarantine, const ObjectId& tree, const std::stop_token& stop)
      : quarantine_(quarantine), tree_(tree), stop_(stop) {}

  absl::StatusOr<ObjectId> Run(std::span<const Patch> patches);

 private:
  absl::Status NoteFiles(const Patch& patch);
  absl::Status CopyFiles();
  Subprocess::Options WithIndex(const Git& git, std::vector<std::string> arguments) const;

  Quarantine& quarantine_;
  const ObjectId tree_;
  const std::stop_token& stop_;
  std::set<std::string> files_;  // that patches start from
};

Subprocess::Options Application::WithIndex(const Git& git,
                                           std::vector<std::string> arguments) const {
  return git.Command(std::move(arguments), {.directory = quarantine_.scratch(),
                                            .index_file = quarantine_.scratch() / "index"});
}

// The files of the old side: those of the new side of the patch turned round.
absl::Status Application::NoteFiles(const Patch& patch) {
  const auto listed = Git::Run(
      Git::Limited(quarantine_.git().Command({"apply", "-R", "--numstat", "-z", "-"}), kCpuSeconds),
      stop_, patch.text);
  if (absl::IsInternal(listed.status()))
    return RefusedPatch(patch, std::string(listed.status().message()));
  KDBG_RETURN_IF_ERROR(listed.status());
  // "<added> TAB <removed> TAB <path> NUL"
  for (std::string_view rest = *listed; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    const std::string_view record = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::size_t first = record.find('\t');
    const std::size_t second = first == record.npos ? first : record.find('\t', first + 1);
    if (second == record.npos) continue;
    const std::string_view path = record.substr(second + 1);
    // Such a name is in no source that has been taken, and would be two questions, or one that git
    // refuses to be asked.
    const bool askable =
        path.find('\n') == path.npos && !path.starts_with("./") && !path.starts_with("../");
    if (askable) files_.emplace(path);
    if (files_.size() > kMostFiles) return PatchInvalid(patch, "it touches too many files");
  }
  return absl::OkStatus();
}

absl::Status Application::CopyFiles() {
  std::string names;
  for (const std::string& file : files_) names += fmt::format("{}:{}\n", tree_.Hex(), file);
  const Git repository(quarantine_.git().repository());
  KDBG_ASSIGN_OR_RETURN(
      const std::string answers,
      Git::Run(repository.Command({"cat-file", "--batch-check=%(objecttype) %(objectname)"}), stop_,
               std::move(names)));
  std::set<ObjectId> blobs;
  for (std::string_view rest = answers; !rest.empty();) {
    const std::string_view line = NextLine(rest);
    constexpr std::string_view kBlob = "blob ";
    if (!line.starts_with(kBlob)) continue;  // a file that the patch makes
    if (const auto id = ObjectId::FromHex(line.substr(kBlob.size()))) blobs.insert(*id);
  }
  return quarantine_.Copy(std::vector<ObjectId>(blobs.begin(), blobs.end()), stop_);
}

absl::StatusOr<ObjectId> Application::Run(std::span<const Patch> patches) {
  for (const Patch& patch : patches) KDBG_RETURN_IF_ERROR(NoteFiles(patch));
  KDBG_RETURN_IF_ERROR(CopyFiles());
  const Git repository(quarantine_.git().repository());
  KDBG_RETURN_IF_ERROR(Git::Run(WithIndex(repository, {"read-tree", tree_.Hex()}), stop_).status());
  for (const Patch& patch : patches) {
    const auto applied = Git::Run(
        Git::Limited(
            WithIndex(quarantine_.git(), {"apply", "--cached", "--whitespace=nowarn", "-"}),
            kCpuSeconds),
        stop_, patch.text);
    if (absl::IsInternal(applied.status()))
      return RefusedPatch(patch, std::string(applied.status().message()));
    KDBG_RETURN_IF_ERROR(applied.status());
  }
  // Here it may see the repository: what the index names is in the tree, or was just made. Folders
  // that no patch touches are there already.
  const Git both(repository.repository(), quarantine_.git_objects(),
                 repository.repository() / "objects");
  KDBG_ASSIGN_OR_RETURN(const std::string written,
                        Git::Run(WithIndex(both, {"write-tree"}), stop_));
  KDBG_RETURN_IF_ERROR(quarantine_.PackObjects(stop_));
  const auto id = ObjectId::FromHex(std::string_view(written).substr(0, ObjectId::kHexDigits));
  if (!id) return absl::InternalError("git write-tree printed no id");
  return *id;
}

}  // namespace

bool IsMail(std::string_view text) {
  if (text.starts_with("From ")) return true;
  // A header names its sender before its first empty line; a diff has begun by then.
  while (!text.empty()) {
    const std::string_view line = NextLine(text);
    if (line.empty() || line == "\r" || line.starts_with("--- ")) return false;
    if (line.starts_with("From: ")) return true;
  }
  return false;
}

absl::Status RefusedPatch(const Patch& patch, std::string_view complaint) {
  constexpr std::string_view kFailed = "error: patch failed: ";  // "<file>:<line>"
  constexpr std::string_view kError = "error: ";
  std::string_view first_error;
  for (std::string_view rest = complaint; !rest.empty();) {
    std::string_view line = NextLine(rest);
    // The first line comes with our own words about git before it.
    const std::size_t failed = line.find(kFailed);
    if (failed != line.npos) {
      line.remove_prefix(failed + kFailed.size());
      const std::size_t colon = std::min(line.rfind(':'), line.size());
      const std::string file = ShortUtf8(line.substr(0, colon), kShownBytes);
      const std::string_view old_line = line.substr(std::min(colon + 1, line.size()));
      const std::string hunk = ShortUtf8(HunkAt(patch.text, file, old_line), kShownBytes);
      return MakeError(
          absl::StatusCode::kInvalidArgument, Reason::kPatchDoesNotApply,
          fmt::format("{}: its hunk \"{}\" does not fit {} of this source: adapt the patch to it",
                      ShortUtf8(patch.name, kShownBytes), hunk, file),
          {{"patch", ShortUtf8(patch.name, kShownBytes)}, {"file", file}, {"hunk", hunk}});
    }
    const std::size_t error = line.find(kError);
    if (first_error.empty() && error != line.npos) first_error = line.substr(error + kError.size());
  }
  // "<file>: does not exist in index"
  constexpr std::string_view kIndex = " in index";
  const std::size_t colon = first_error.rfind(": ");
  if (first_error.ends_with(kIndex) && colon != first_error.npos) {
    const std::string file = ShortUtf8(first_error.substr(0, colon), kShownBytes);
    const std::string_view what = first_error.substr(colon + 2);
    return MakeError(absl::StatusCode::kInvalidArgument, Reason::kPatchDoesNotApply,
                     fmt::format("{}: {} {} this source: adapt the patch to it",
                                 ShortUtf8(patch.name, kShownBytes), file,
                                 what.starts_with("already") ? "is already in" : "is not in"),
                     {{"patch", ShortUtf8(patch.name, kShownBytes)}, {"file", file}});
  }
  return PatchInvalid(patch, first_error.empty() ? complaint : first_error);
}

absl::StatusOr<ObjectId> ApplyPatches(Quarantine& quarantine, const ObjectId& tree,
                                      std::span<const Patch> patches, const std::stop_token& stop) {
  std::vector<Patch> plain;
  for (const Patch& patch : patches) {
    if (!IsMail(patch.text)) {
      plain.push_back(patch);
      continue;
    }
    KDBG_ASSIGN_OR_RETURN(std::vector<Patch> mails, Mailbox(quarantine, stop).Split(patch));
    std::move(mails.begin(), mails.end(), std::back_inserter(plain));
  }
  return Application(quarantine, tree, stop).Run(plain);
}

}  // namespace kdbg::source
