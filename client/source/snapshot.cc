#include "client/source/snapshot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::client {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEmptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

// Where a work tree's repository has what we need.
struct Repository {
  fs::path index;
  fs::path objects;
  std::string prefix;  // of the directory below the top, "" or ending in a slash
  bool is_sha1 = false;
  bool has_files = false;  // false: a bare one
};

// nullopt for a directory that is in no repository.
absl::StatusOr<std::optional<Repository>> FindRepository(const LocalGit& git) {
  const auto answer = git.Run({"rev-parse", "--path-format=absolute", "--show-object-format",
                               "--is-inside-work-tree", "--git-path", "index", "--git-path",
                               "objects", "--show-prefix"});
  if (!answer.ok() &&
      answer.status().message().find("not a git repository") != absl::string_view::npos) {
    return std::nullopt;
  }
  KDBG_RETURN_IF_ERROR(answer.status());
  const std::vector<std::string> lines = absl::StrSplit(absl::StripSuffix(*answer, "\n"), '\n');
  if (lines.size() < 4) return absl::FailedPreconditionError("git said too little: is it too old?");
  Repository found;
  found.is_sha1 = lines[0] == "sha1";
  found.has_files = lines[1] == "true";
  found.index = lines[2];
  found.objects = lines[3];
  if (lines.size() > 4) found.prefix = lines[4];
  return found;
}

// A directory that the repository around it ignores is none of its business.
bool IsIgnored(const LocalGit& git, const Repository& repository) {
  return !repository.prefix.empty() && git.Run({"check-ignore", "--quiet", "."}).ok();
}

// With its time stamp, by which git knows which files may have changed since it was written.
absl::Status CopyIndex(const fs::path& from, const fs::path& to) {
  const UniqueFd index(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!index && errno == ENOENT) return absl::OkStatus();  // nothing was ever added
  struct stat status {};
  if (!index || ::fstat(index.get(), &status) != 0) return ErrnoError(errno, from.string());
  std::error_code error;
  fs::copy_file(from, to, error);
  if (error) return ErrnoError(error.value(), "copy " + from.string());
  const timespec times[2] = {status.st_atim, status.st_mtim};
  if (::utimensat(AT_FDCWD, to.c_str(), times, 0) != 0) return ErrnoError(errno, to.string());
  return absl::OkStatus();
}

// A file of ours that goes when we do.
class ScratchFile {
 public:
  explicit ScratchFile(fs::path path) : path_(std::move(path)) { Remove(); }
  ~ScratchFile() { Remove(); }
  ScratchFile(const ScratchFile&) = delete;
  const fs::path& path() const { return path_; }

 private:
  void Remove() const {
    std::error_code ignored;
    fs::remove(path_, ignored);
    fs::remove(path_.string() + ".lock", ignored);
  }
  const fs::path path_;
};

// `config`: for this command alone. Everything that could leave files out, or stop for their sake,
// is set.
std::vector<std::string> AddAll(std::vector<std::string> config,
                                const std::vector<std::string>& options) {
  for (const char* setting :
       {"core.splitIndex=false", "core.safecrlf=false", "advice.addEmbeddedRepo=false"}) {
    config.insert(config.end(), {"-c", setting});
  }
  config.insert(config.end(), {"add", "--all", "--no-ignore-errors"});
  config.insert(config.end(), options.begin(), options.end());
  config.insert(config.end(), {"--", "."});
  return config;
}

void SetHead(Snapshot& snapshot, const std::string& commit, const std::string& prefix) {
  const auto head = snapshot.git.Run({"rev-parse", "--verify", "--quiet", "--end-of-options",
                                      fmt::format("{}^{{commit}}", commit)});
  if (!head.ok()) return;  // nothing committed yet
  snapshot.commit = head->substr(0, head->find('\n'));
  const auto tree = snapshot.git.Run(
      {"rev-parse", "--verify", "--quiet", fmt::format("{}:{}", snapshot.commit, prefix)});
  if (tree.ok()) snapshot.head_tree = tree->substr(0, tree->find('\n'));
}

// The files as they are, by way of a copy of the index and an object directory of ours.
absl::StatusOr<Snapshot> OfWorkTree(const LocalGit& git, const fs::path& directory,
                                    const Repository& repository, const DirectoryCache& cache) {
  const ScratchFile index(cache.Scratch("index"));
  KDBG_RETURN_IF_ERROR(CopyIndex(repository.index, index.path()));
  Snapshot snapshot{
      .git = git.With({"GIT_OBJECT_DIRECTORY=" + cache.objects().string(),
                       "GIT_ALTERNATE_OBJECT_DIRECTORIES=" + repository.objects.string()})};
  const LocalGit adding = snapshot.git.With({"GIT_INDEX_FILE=" + index.path().string()});
  KDBG_ASSIGN_OR_RETURN(snapshot.large_files, FindLargeFiles(adding, directory, Ignored::kLeftOut));
  KDBG_RETURN_IF_ERROR(adding.Run(AddAll({}, {})).status());
  std::vector<std::string> write = {"write-tree"};
  if (!repository.prefix.empty()) write.push_back("--prefix=" + repository.prefix);
  KDBG_ASSIGN_OR_RETURN(snapshot.tree, adding.Line(write));
  SetHead(snapshot, "HEAD", repository.prefix);
  snapshot.dirty = snapshot.tree != snapshot.head_tree;
  return snapshot;
}

absl::StatusOr<Snapshot> OfCommit(const LocalGit& git, const Repository& repository,
                                  const SnapshotRequest& request) {
  const std::string ref = request.ref.empty() ? "HEAD" : request.ref;
  Snapshot snapshot{.git = git};
  SetHead(snapshot, ref, repository.prefix);
  if (snapshot.head_tree.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("--ref {}: the repository has no such branch, tag or commit", ref));
  }
  snapshot.tree = snapshot.head_tree;
  KDBG_RETURN_IF_ERROR(
      CheckLandmarks(request.project, request.directory, [&](const std::string& path) {
        return snapshot.git.Run({"cat-file", "-e", fmt::format("{}:{}", snapshot.tree, path)}).ok();
      }));
  return snapshot;
}

// What a git that was killed left in a repository of ours, whose lock we hold.
void RemoveUnfinished(const fs::path& repository) {
  std::error_code error;
  fs::remove(repository / "index.lock", error);
  for (const auto& entry : fs::directory_iterator(repository / "objects" / "pack", error)) {
    std::error_code ignored;
    if (entry.path().filename().string().starts_with("tmp_")) fs::remove(entry.path(), ignored);
  }
}

// Every file, by way of a repository of ours that remembers which files it has seen.
absl::StatusOr<Snapshot> OfPlainDirectory(const fs::path& directory, const DirectoryCache& cache,
                                          Ignored ignored, const std::stop_token& stop) {
  KDBG_ASSIGN_OR_RETURN(const UniqueFd lock, cache.LockRepository());
  const fs::path home = cache.repository();
  Snapshot snapshot{
      .git = LocalGit(directory,
                      {"GIT_DIR=" + home.string(), "GIT_WORK_TREE=" + directory.string()}, stop)};
  std::error_code error;
  if (!fs::exists(home / "HEAD", error)) {
    KDBG_RETURN_IF_ERROR(MakeDirectories(home, 0700));
    KDBG_RETURN_IF_ERROR(LocalGit(home, {}, stop)
                             .Run({"init", "--quiet", "--bare",
                                   "--template=", "--object-format=sha1", home.string()})
                             .status());
    KDBG_RETURN_IF_ERROR(MakeDirectories(home / "info", 0700));
    // Bytes go as they are, whatever the directory's own .gitattributes want of them.
    KDBG_RETURN_IF_ERROR(WriteFileAtomic(home / "info" / "attributes",
                                         "* -text -ident !eol !filter !working-tree-encoding\n"));
  }
  RemoveUnfinished(home);
  std::vector<std::string> config;
  // The first time, all go into one pack: 80,000 loose files would take minutes.
  if (!fs::exists(home / "index", error)) {
    config = {"-c", "core.bigFileThreshold=1", "-c", "core.compression=1"};
  }
  KDBG_RETURN_IF_ERROR(FindLargeFiles(snapshot.git, directory, ignored).status());
  std::vector<std::string> options;
  if (ignored == Ignored::kSent) options.push_back("--force");
  KDBG_RETURN_IF_ERROR(snapshot.git.Run(AddAll(std::move(config), options)).status());
  KDBG_ASSIGN_OR_RETURN(snapshot.tree, snapshot.git.Line({"write-tree"}));
  return snapshot;
}

absl::StatusOr<Snapshot> Take(const SnapshotRequest& request, const DirectoryCache& cache,
                              const std::stop_token& stop) {
  const auto& [directory, ref, project] = request;
  const LocalGit git(directory, {}, stop);
  KDBG_ASSIGN_OR_RETURN(const std::optional<Repository> repository, FindRepository(git));
  const bool is_ours = repository && !IsIgnored(git, *repository);
  if (!is_ours && !ref.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("--ref {}: {} is in no git repository", ref, directory.string()));
  }
  // Ids of another kind than the server's.
  if (is_ours && !repository->is_sha1 && !ref.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "--ref {}: not for a SHA-256 repository; check it out and leave --ref away", ref));
  }
  if (is_ours && (!ref.empty() || !repository->has_files)) {
    return OfCommit(git, *repository, request);
  }
  KDBG_RETURN_IF_ERROR(CheckLandmarks(
      project, directory, [&](const std::string& path) { return IsIn(directory, path); }));
  if (is_ours && repository->is_sha1) return OfWorkTree(git, directory, *repository, cache);
  return OfPlainDirectory(directory, cache, is_ours ? Ignored::kLeftOut : Ignored::kSent, stop);
}

absl::StatusOr<Snapshot> WithAdvice(absl::StatusOr<Snapshot> snapshot) {
  const std::string said(snapshot.status().message());
  if (said.find("Permission denied") == std::string::npos) return snapshot;
  return absl::FailedPreconditionError(said +
                                       "\nnothing was sent: make it readable, or move it away");
}

}  // namespace

absl::StatusOr<Snapshot> TakeSnapshot(const SnapshotRequest& request, const DirectoryCache& cache,
                                      const std::stop_token& stop) {
  KDBG_ASSIGN_OR_RETURN(Snapshot snapshot, WithAdvice(Take(request, cache, stop)));
  if (snapshot.tree == kEmptyTree) {
    return absl::FailedPreconditionError(
        fmt::format("{}: there is no file in it", request.directory.string()));
  }
  return snapshot;
}

}  // namespace kdbg::client
