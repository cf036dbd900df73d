#include "client/commands/directory_import.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "client/commands/upload.h"
#include "client/output/text.h"
#include "client/source/difference.h"
#include "client/source/directory_cache.h"
#include "proto/contract/error.h"
#include "proto/support/default_paths.h"
#include "proto/support/file.h"
#include "proto/support/sha256.h"

namespace kdbg::client {
namespace {

// The contract's bounds.
constexpr std::size_t kIdsInOneCall = 4096;
constexpr std::int64_t kPackInCallBytes = std::int64_t{1} << 20;

// Edits of a year; then the next difference is found without a memory of the last one.
constexpr std::int64_t kCachedObjectBytes = std::int64_t{256} << 20;

absl::StatusOr<std::set<std::string>> AskServer(Context& context,
                                                const std::vector<std::string>& ids) {
  std::set<std::string> known;
  for (std::size_t at = 0; at < ids.size(); at += kIdsInOneCall) {
    v1::QueryKnownObjectsRequest request;
    const std::size_t end = std::min(ids.size(), at + kIdsInOneCall);
    for (std::size_t i = at; i < end; ++i) request.add_object_ids(ids[i]);
    KDBG_ASSIGN_OR_RETURN(
        const v1::QueryKnownObjectsResponse answer,
        context.Call<v1::SourceService>(&v1::SourceService::Stub::QueryKnownObjects, request));
    known.insert(answer.known_object_ids().begin(), answer.known_object_ids().end());
  }
  return known;
}

absl::StatusOr<v1::Source> Create(Context& context, const v1::Source::GitPack& pack) {
  v1::CreateSourceRequest request;
  *request.mutable_source()->mutable_git_pack() = pack;
  request.set_request_id(NewRequestId());
  return context.Call<v1::SourceService>(&v1::SourceService::Stub::CreateSource, request);
}

std::string HostName() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

class DirectoryImport {
 public:
  DirectoryImport(Context& context, Progress& progress, SnapshotRequest request,
                  DirectoryCache cache, std::stop_token stop)
      : context_(context),
        progress_(progress),
        request_(std::move(request)),
        cache_(std::move(cache)),
        stop_(std::move(stop)) {}

  absl::StatusOr<v1::Source> Run();

 private:
  absl::StatusOr<v1::Source> Send(const Snapshot& snapshot, const std::vector<std::string>& bases);
  absl::StatusOr<v1::Source> SendPack(const Snapshot& snapshot, const Difference& difference);
  void NoteLargeFiles(const Snapshot& snapshot) const;
  void Note(const Difference& difference, std::int64_t bytes) const;

  Context& context_;
  Progress& progress_;
  const SnapshotRequest request_;
  const DirectoryCache cache_;
  const std::stop_token stop_;
};

absl::StatusOr<v1::Source> DirectoryImport::Run() {
  KDBG_ASSIGN_OR_RETURN(const ServerAddress address, context_.Address());
  const std::string server = ToString(address);
  progress_.Update("reading", request_.directory.string());
  KDBG_ASSIGN_OR_RETURN(const Snapshot snapshot, TakeSnapshot(request_, cache_, stop_));
  NoteLargeFiles(snapshot);
  auto source = Send(snapshot, {cache_.LastSent(server), snapshot.head_tree});
  // What was known a moment ago can be gone: a source was deleted meanwhile.
  if (HasReason(source.status(), Reason::kObjectsMissing) || absl::IsNotFound(source.status())) {
    source = Send(snapshot, {});
  }
  // A memory for the next time; this one has succeeded without.
  if (source.ok()) cache_.NoteSent(server, snapshot.tree).IgnoreError();
  return source;
}

absl::StatusOr<v1::Source> DirectoryImport::Send(const Snapshot& snapshot,
                                                 const std::vector<std::string>& bases) {
  progress_.Update("comparing", "with what the server has");
  KDBG_ASSIGN_OR_RETURN(const Difference difference,
                        FindDifference(snapshot.git, snapshot.tree, bases, [this](const auto& ids) {
                          return AskServer(context_, ids);
                        }));
  if (stop_.stop_requested()) return InterruptedError();
  return SendPack(snapshot, difference);
}

absl::StatusOr<v1::Source> DirectoryImport::SendPack(const Snapshot& snapshot,
                                                     const Difference& difference) {
  v1::Source::GitPack pack;
  pack.set_tree(snapshot.tree);
  pack.set_commit(snapshot.commit);
  pack.set_dirty(snapshot.dirty);
  pack.set_directory(request_.directory.string());
  pack.mutable_delta_bases()->Add(difference.delta_bases.begin(), difference.delta_bases.end());
  if (difference.objects == 0) return Create(context_, pack);
  // Found again by the same recipe, so that a broken upload goes on with the same bytes.
  const std::filesystem::path file = cache_.PackOf(difference.recipe);
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    progress_.Update("packing", fmt::format("{} objects", difference.objects));
    KDBG_RETURN_IF_ERROR(WritePack(snapshot.git, difference, file));
  }
  KDBG_ASSIGN_OR_RETURN(const LocalFile local, OpenAndHash(file, progress_));
  Note(difference, local.size_bytes);
  if (local.size_bytes <= kPackInCallBytes) {
    KDBG_ASSIGN_OR_RETURN(*pack.mutable_pack(), ReadFile(file));
    auto source = Create(context_, pack);
    if (!HasReason(source.status(), Reason::kTooManyCalls)) return source;
    pack.clear_pack();  // another one of ours is on its way: this one stands in line
  }
  KDBG_ASSIGN_OR_RETURN(const v1::Upload upload, UploadFile(context_, local, progress_));
  pack.set_upload(upload.name());
  return Create(context_, pack);
}

void DirectoryImport::NoteLargeFiles(const Snapshot& snapshot) const {
  if (!snapshot.large_files.empty()) progress_.Clear();
  for (const LargeFile& file : snapshot.large_files) {
    context_.output().Note(
        fmt::format("{} ({}) is part of the source, as it is new and not ignored: if it is not "
                    "meant to be, name it in .git/info/exclude",
                    file.path, Bytes(file.size_bytes)));
  }
}

void DirectoryImport::Note(const Difference& difference, std::int64_t bytes) const {
  progress_.Clear();
  context_.output().Note(fmt::format("sending {} in {} object{} of {}", Bytes(bytes),
                                     difference.objects, difference.objects == 1 ? "" : "s",
                                     request_.directory.string()));
  for (const std::string& path : difference.submodules) {
    context_.output().Note(
        fmt::format("{} is a repository of its own: its files are not sent", path));
  }
}

}  // namespace

absl::StatusOr<v1::Source> ImportDirectory(Context& context, SnapshotRequest request,
                                           Progress& progress) {
  std::error_code error;
  const std::filesystem::path canonical = std::filesystem::canonical(request.directory, error);
  if (error) {
    return absl::NotFoundError(fmt::format("{}: {}", request.directory.string(), error.message()));
  }
  request.directory = canonical;
  KDBG_ASSIGN_OR_RETURN(const std::filesystem::path root,
                        UserCacheDirectory(PathEnvironment::Current()));
  KDBG_ASSIGN_OR_RETURN(DirectoryCache cache,
                        DirectoryCache::Open(root, canonical, kCachedObjectBytes));
  std::stop_source stop;
  Interrupt::Scope scope(context.interrupt(), [&stop] { stop.request_stop(); });
  DirectoryImport import(context, progress, std::move(request), std::move(cache), stop.get_token());
  auto source = import.Run();
  if (!source.ok() && scope.fired()) return InterruptedError();
  return source;
}

std::string LineOfWork(const std::filesystem::path& directory) {
  constexpr std::size_t kNameBytes = 50;
  constexpr std::size_t kDigits = 8;
  std::error_code error;
  std::filesystem::path canonical = std::filesystem::canonical(directory, error);
  if (error) canonical = directory;
  std::string name;
  for (const char c : canonical.filename().string()) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_';
    const char letter = upper ? static_cast<char>(c - 'A' + 'a') : c;
    if (upper || kept) {
      name += letter;
    } else if (!name.empty() && name.back() != '-') {
      name += '-';
    }
  }
  name.erase(0, std::min(name.find_first_not_of(".-"), name.size()));
  name.resize(std::min(name.size(), kNameBytes));
  if (name.empty()) name = "source";
  const std::string place = HostName() + '\0' + canonical.string();
  return fmt::format("{}-{}", name, Sha256Hex(place).substr(0, kDigits));
}

}  // namespace kdbg::client
