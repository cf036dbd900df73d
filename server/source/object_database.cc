#include "server/source/object_database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/str_split.h"
#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"
#include "server/observe/log.h"
#include "server/source/fast_import.h"
#include "server/source/quarantine.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kFilesPerReport = 2000;

std::string KeptRef(std::string_view id) { return fmt::format("refs/kdbg/{}", id); }
std::string ImportRef(std::string_view id) { return fmt::format("refs/kdbg-import/{}", id); }

std::string FirstLine(std::string text) { return text.substr(0, text.find('\n')); }

std::vector<std::string> Lines(const std::string& text) {
  return absl::StrSplit(text, '\n', absl::SkipEmpty());
}

// Nobody else uses the repository, so at the start every lock is that of a git that is dead.
void RemoveStaleLocks(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> locks;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".lock") locks.push_back(entry.path());
  }
  for (const auto& entry : fs::recursive_directory_iterator(directory / "refs", error)) {
    if (entry.path().extension() == ".lock") locks.push_back(entry.path());
  }
  for (const fs::path& lock : locks) fs::remove(lock, error);
}

// What git says of an index that a power cut tore.
bool IsIndexDamaged(const absl::Status& status) {
  const std::string text(status.message());
  return absl::IsInternal(status) && (text.find("index") != std::string::npos ||
                                      text.find("bad signature") != std::string::npos);
}

absl::Status CopyMembers(ArchiveReader& reader, FastImport& import, ImportProgress& progress,
                         const std::function<void(const ImportProgress&)>& on_progress,
                         const std::stop_token& stop) {
  for (;;) {
    if (stop.stop_requested()) return absl::CancelledError("the import was stopped");
    KDBG_ASSIGN_OR_RETURN(const std::optional<ArchiveMember> member, reader.Next());
    if (!member) return absl::OkStatus();
    KDBG_RETURN_IF_ERROR(import.Add(*member));
    KDBG_RETURN_IF_ERROR(
        reader.ReadData([&](std::string_view bytes) { return import.WriteBytes(bytes); }));
    if (member->kind != MemberKind::kHardlink) KDBG_RETURN_IF_ERROR(import.WriteBytes("\n"));
    ++progress.files;
    progress.bytes += member->size_bytes;
    if (on_progress && progress.files % kFilesPerReport == 0) on_progress(progress);
  }
}

}  // namespace

ObjectDatabase::ObjectDatabase(fs::path directory) : directory_(std::move(directory)) {}

absl::StatusOr<std::unique_ptr<ObjectDatabase>> ObjectDatabase::Open(const fs::path& directory) {
  std::unique_ptr<ObjectDatabase> objects(new ObjectDatabase(directory));
  KDBG_RETURN_IF_ERROR(objects->Prepare());
  return objects;
}

absl::Status ObjectDatabase::Prepare() {
  KDBG_RETURN_IF_ERROR(MakeDirectories(directory_, 0700));
  const Git git(directory_);
  if (!fs::exists(directory_ / "HEAD")) {
    KDBG_RETURN_IF_ERROR(
        Git::Run(git.Command({"init", "--bare", "--quiet", "--template=", directory_.string()}))
            .status());
  }
  RemoveLeftovers();
  Quarantine::RemoveLeftovers(directory_);
  RemoveStaleLocks(directory_);
  KDBG_ASSIGN_OR_RETURN(
      const std::string refs,
      Git::Run(git.Command({"for-each-ref", "--format=%(refname)", "refs/kdbg-import/"})));
  for (const std::string& ref : Lines(refs)) {
    KDBG_RETURN_IF_ERROR(Git::Run(git.Command({"update-ref", "-d", ref})).status());
  }
  // Stands above every .gitattributes of a tree: files come out byte for byte as they went in.
  KDBG_RETURN_IF_ERROR(MakeDirectories(directory_ / "info", 0700));
  return WithDiskReason(WriteFileAtomic(directory_ / "info" / "attributes",
                                        "* -text -ident !eol !filter !working-tree-encoding\n"),
                        directory_);
}

void ObjectDatabase::RemoveLeftovers() const {
  std::error_code error;
  for (const fs::path& folder : {directory_ / "objects" / "pack", directory_}) {
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const std::string name = entry.path().filename();
      // HEAD.lock, packed-refs.lock and the like: their git is dead, since nobody else uses this
      // repository.
      if (name.starts_with("tmp_") || name.starts_with("fast_import_crash_") ||
          name.ends_with(".lock")) {
        std::error_code ignored;
        fs::remove(entry.path(), ignored);
      }
    }
  }
}

// Unchecked by the compiler, since the lock lives as long as the object.
ObjectDatabase::Addition::Addition(ObjectDatabase& objects) ABSL_NO_THREAD_SAFETY_ANALYSIS
    : objects_(objects) {
  {
    absl::MutexLock lock(&objects_.collection_mutex_);
    objects_.collection_.request_stop();
  }
  objects_.addition_mutex_.ReaderLock();
  objects_.changed_ = true;
}

ObjectDatabase::Addition::~Addition() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  objects_.addition_mutex_.ReaderUnlock();
}

absl::StatusOr<ImportedTree> ObjectDatabase::ImportArchive(
    const UniqueFd& archive, std::string_view id, const ArchiveLimits& limits,
    const std::function<void(const ImportProgress&)>& on_progress, std::stop_token stop) {
  const Addition addition(*this);
  absl::MutexLock lock(&import_mutex_);
  const Git git(directory_);
  ImportedTree imported;
  std::string top;
  absl::Status status;
  {
    const auto reader = ArchiveReader::Open(BytesOf(archive), limits);
    KDBG_ASSIGN_OR_RETURN(FastImport import, FastImport::Start(git, ImportRef(id)));
    status = CopyMembers(*reader, import, imported.total, on_progress, stop);
    if (status.ok()) status = import.Finish();
    top = reader->top_folder();
  }
  if (!status.ok()) {
    RemoveLeftovers();
    return status;
  }
  if (on_progress) on_progress(imported.total);
  absl::StatusOr<std::string> tree = StripTop(ImportRef(id), top);
  if (tree.ok()) status = Keep(id, *tree);
  const auto dropped = Git::Run(git.Command({"update-ref", "-d", ImportRef(id)}));
  KDBG_RETURN_IF_ERROR(tree.status());
  KDBG_RETURN_IF_ERROR(status);
  KDBG_RETURN_IF_ERROR(dropped.status());
  imported.tree = *std::move(tree);
  return imported;
}

absl::StatusOr<std::string> ObjectDatabase::StripTop(const std::string& ref,
                                                     const std::string& top) const {
  const Git git(directory_);
  KDBG_ASSIGN_OR_RETURN(
      std::string tree,
      Git::Run(git.Command({"rev-parse", "--verify", fmt::format("{}:{}", ref, top)})));
  return FirstLine(std::move(tree));
}

absl::Status ObjectDatabase::Keep(std::string_view id, std::string_view tree) {
  const Git git(directory_);
  return Git::Run(git.Command({"update-ref", KeptRef(id), std::string(tree)})).status();
}

absl::Status ObjectDatabase::Forget(std::string_view id) {
  changed_ = true;
  const Git git(directory_);
  return Git::Run(git.Command({"update-ref", "-d", KeptRef(id)})).status();
}

absl::StatusOr<std::vector<std::string>> ObjectDatabase::Kept() const {
  const Git git(directory_);
  KDBG_ASSIGN_OR_RETURN(
      const std::string refs,
      Git::Run(git.Command({"for-each-ref", "--format=%(refname:lstrip=2)", KeptRef("")})));
  return Lines(refs);
}

bool ObjectDatabase::Has(std::string_view tree) const {
  if (!IsObjectId(tree)) return false;
  const Git git(directory_);
  const auto type = Git::Run(git.Command({"cat-file", "-t", std::string(tree)}));
  return type.ok() && FirstLine(*type) == "tree";
}

absl::StatusOr<TreeReader> ObjectDatabase::OpenTree(std::string_view tree) const {
  if (!IsObjectId(tree)) return InvalidField("tree", tree, "not a tree id of 40 or 64 hex digits");
  return TreeReader::Start(Git(directory_), tree);
}

absl::StatusOr<std::string> ObjectDatabase::ReadFile(std::string_view tree, std::string_view path,
                                                     std::size_t max_bytes) const {
  KDBG_ASSIGN_OR_RETURN(TreeReader reader, OpenTree(tree));
  return reader.Read(path, max_bytes);
}

absl::StatusOr<std::vector<std::string>> ObjectDatabase::ChangedPaths(std::string_view from,
                                                                      std::string_view to) const {
  for (std::string_view tree : {from, to}) {
    if (!Has(tree)) return ResourceNotFound(fmt::format("tree {}", tree));
  }
  const Git git(directory_);
  KDBG_ASSIGN_OR_RETURN(
      const std::string changed,
      Git::Run(git.Command({"diff-tree", "-r", "-z", "--name-only", "--no-renames",
                            std::string(from), std::string(to)})));
  std::vector<std::string> paths;
  for (std::size_t start = 0; start < changed.size();) {
    const std::size_t end = std::min(changed.find('\0', start), changed.size());
    paths.push_back(changed.substr(start, end - start));
    start = end + 1;
  }
  return paths;
}

absl::Status ObjectDatabase::Checkout(std::string_view tree, const fs::path& index_file,
                                      const fs::path& work_tree, WorkTreeTrust trust,
                                      std::stop_token stop) const {
  if (!Has(tree)) return ResourceNotFound(fmt::format("tree {}", tree));
  const Git git(directory_);
  const Git::WorkTree in{.directory = work_tree, .index_file = index_file};
  const fs::path unfinished = index_file.string() + ".unfinished";
  std::error_code error;
  // The caller has this work tree for itself, so a lock is that of a git that was killed.
  fs::remove(index_file.string() + ".lock", error);
  const bool was_cut_off =
      trust == WorkTreeTrust::kLookAtEveryFile || fs::exists(unfinished, error);
  KDBG_RETURN_IF_ERROR(WithDiskReason(WriteFileAtomic(unfinished, ""), index_file));

  const auto read_tree = [&](const char* how) {
    return Git::Run(
               git.Command({"-c", "checkout.workers=0", "read-tree", how, "-u", std::string(tree)},
                           in),
               stop)
        .status();
  };
  // -m trusts the index, --reset looks at every file and also rewrites those that are not as it
  // says.
  absl::Status status = read_tree(was_cut_off ? "--reset" : "-m");
  if (IsIndexDamaged(status)) {
    spdlog::warn("checkout of {}: {}; starting from an empty work tree", work_tree.string(),
                 status.ToString());
    fs::remove(index_file, error);
    for (const auto& entry : fs::directory_iterator(work_tree, error)) {
      fs::remove_all(entry.path(), error);
    }
    status = read_tree("--reset");
  } else if (absl::IsInternal(status)) {
    status = read_tree("--reset");
  }
  if (status.ok() && was_cut_off) {
    // Files that only the cut off checkout knew of.
    status = Git::Run(git.Command({"clean", "-ffdxq"}, in), stop).status();
  }
  if (status.ok()) fs::remove(unfinished, error);
  return status;
}

absl::Status ObjectDatabase::CheckoutPart(std::string_view tree,
                                          const std::vector<std::string>& pathspecs,
                                          const fs::path& index_file, const fs::path& work_tree,
                                          std::stop_token stop) const {
  if (!Has(tree)) return ResourceNotFound(fmt::format("tree {}", tree));
  std::vector<std::string> arguments = {"-c", "checkout.workers=0", "checkout",
                                        "-q", std::string(tree),    "--"};
  arguments.insert(arguments.end(), pathspecs.begin(), pathspecs.end());
  const Git git(directory_);
  return Git::Run(
             git.Command(std::move(arguments), {.directory = work_tree, .index_file = index_file}),
             std::move(stop))
      .status();
}

absl::Status ObjectDatabase::CollectGarbage(std::stop_token stop) {
  std::stop_source ending;
  {
    absl::MutexLock lock(&collection_mutex_);
    collection_ = ending;
  }
  absl::WriterMutexLock lock(&addition_mutex_);
  if (!changed_.exchange(false)) return absl::OkStatus();
  const std::stop_callback passed_on(stop, [&] { ending.request_stop(); });
  const Git git(directory_);
  // -F, since objects are otherwise taken over as they are, that is uncompressed from their import.
  Subprocess::Options repack =
      git.Command({"-c", "core.compression=1", "-c", "pack.threads=1", "repack", "-a", "-d", "-q",
                   "-F", "--depth=0", "--window=0"});
  repack.argv.insert(repack.argv.begin(), {"nice", "-n", "19"});
  absl::Status status = Git::Run(std::move(repack), ending.get_token()).status();
  if (status.ok()) {
    status = Git::Run(git.Command({"prune", "--expire=2.hours.ago"}), ending.get_token()).status();
  }
  if (!status.ok()) {
    changed_ = true;
    RemoveLeftovers();
  }
  return status;
}

}  // namespace kdbg::source
