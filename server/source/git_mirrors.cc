#include "server/source/git_mirrors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/file.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"
#include "server/source/remote_url.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNameDigits = 16;
constexpr std::size_t kShownBytes = 600;
constexpr std::int64_t kCpuSeconds = 1800;
// Each fetch leaves a pack.
constexpr int kManyPacks = 20;
constexpr std::string_view kFetchedRef = "refs/kdbg/fetched";
constexpr std::string_view kTakenRef = "refs/kdbg/taken";

// What runs on the other side of a repository on this host: with the caller's rights, or not at
// all. It takes no order from the repository (its hook is only read from protected configuration).
absl::StatusOr<std::string> UploadPackAs(uid_t reader) {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::geteuid() != 0 || ::getpwuid_r(reader, &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr) {
    return MakeError(absl::StatusCode::kPermissionDenied, Reason::kPathNotAllowed,
                     "this server cannot read a repository on its own disk with your rights: name "
                     "it as a directory, kdbgctl sends what is new in it");
  }
  return fmt::format(
      "setpriv --reuid={} --regid={} --init-groups git -c safe.directory='*' "
      "upload-pack",
      reader, entry.pw_gid);
}

std::string FirstError(std::string_view text) {
  // ssh has said why before that.
  if (const std::size_t at = text.find("fatal: Could not read from remote"); at != text.npos) {
    const std::size_t begin = text.find(": ", text.find(": ") + 2) + 2;  // "git: exit status 128: "
    const std::string_view before =
        text.substr(begin, text.find_last_not_of("\r\n", at - 1) + 1 - begin);
    const std::string_view said = before.substr(before.rfind('\n') + 1);
    const bool git_said = said.starts_with("fatal: ");
    if (!said.empty() && !git_said) return ShortUtf8(said, kShownBytes);
  }
  for (const std::string_view mark : {"fatal: ", "error: ", "ERROR: "}) {
    const std::size_t at = text.find(mark);
    if (at == text.npos) continue;
    const std::string_view line = text.substr(at + mark.size());
    return ShortUtf8(line.substr(0, line.find('\n')), kShownBytes);
  }
  return ShortUtf8(text, kShownBytes);
}

// git's words are all there is to tell one failure from the other.
absl::Status FetchFailed(const std::string& url, const std::string& ref,
                         const absl::Status& status) {
  if (!absl::IsInternal(status)) return status;
  const std::string text(status.message());
  const auto says = [&](std::string_view words) { return text.find(words) != std::string::npos; };
  const ErrorMetadata metadata = {{"url", ShortUtf8(url, kShownBytes)}};
  if (says("find remote ref") || says("not our ref") || says("no such remote ref")) {
    return MakeError(absl::StatusCode::kNotFound, Reason::kRefNotFound,
                     fmt::format("{} has no {}: name a branch, a tag or a whole commit id",
                                 ShortUtf8(url, kShownBytes), ShortUtf8(ref, kShownBytes)),
                     {{"url", ShortUtf8(url, kShownBytes)}, {"ref", ShortUtf8(ref, kShownBytes)}});
  }
  if (says("Could not resolve") || says("Connection refused") || says("timed out") ||
      says("Failed to connect") || says("unreachable") || says("early EOF") || says("RPC failed")) {
    return MakeError(absl::StatusCode::kUnavailable, Reason::kRemoteUnavailable,
                     fmt::format("{} cannot be fetched: {}; try again later",
                                 ShortUtf8(url, kShownBytes), FirstError(text)),
                     metadata);
  }
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kRemoteRefused,
                   fmt::format("{} cannot be fetched: {}; see that the address is right and open "
                               "to this server",
                               ShortUtf8(url, kShownBytes), FirstError(text)),
                   metadata);
}

absl::StatusOr<std::string> IdOf(const Git& git, std::string_view revision) {
  KDBG_ASSIGN_OR_RETURN(
      std::string id,
      Git::Run(git.Command({"rev-parse", "--verify", "--quiet", std::string(revision)})));
  return std::string(absl::StripAsciiWhitespace(id));
}

int PacksOf(const fs::path& repository) {
  int packs = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(repository / "objects/pack", error)) {
    if (entry.path().extension() == ".pack") ++packs;
  }
  return packs;
}

}  // namespace

bool IsRefName(std::string_view ref) {
  const bool plain = std::all_of(ref.begin(), ref.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) &&
           std::string_view("~^:?*[\\").find(c) == std::string_view::npos;
  });
  return plain && !ref.empty() && ref.size() <= 256 && ref.front() != '-' && ref.front() != '/' &&
         ref.front() != '+' && ref.find("..") == ref.npos && ref.find("@{") == ref.npos &&
         ref.find("//") == ref.npos && !ref.ends_with('/') && !ref.ends_with(".lock");
}

// ---- Fetched

GitMirrors::Fetched::Fetched(fs::path repository, std::shared_ptr<absl::Mutex> mutex)
    : repository_(std::move(repository)),
      mutex_(std::move(mutex)),
      lock_(std::make_unique<absl::ReleasableMutexLock>(mutex_.get())) {}

absl::StatusOr<UniqueFd> GitMirrors::Fetched::Pack(const std::string& base,
                                                   const std::stop_token& stop) const {
  UniqueFd pack(::open(repository_.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  if (!pack) return DiskError(errno, "create a file in", repository_);
  Subprocess::Options make = Git(repository_).Command({"pack-objects", "--revs", "--stdout", "-q"});
  make.descriptors = {{1, pack.get()}};
  const std::string wanted = base.empty() ? tree_ + "\n" : tree_ + "\n--not\n" + base + "\n";
  KDBG_RETURN_IF_ERROR(Git::Run(std::move(make), stop, wanted).status());
  return pack;
}

absl::Status GitMirrors::Fetched::NoteTaken(const std::stop_token& stop) const {
  const Git git(repository_);
  KDBG_RETURN_IF_ERROR(
      Git::Run(git.Command({"update-ref", std::string(kTakenRef), commit_}), stop).status());
  if (PacksOf(repository_) <= kManyPacks) return absl::OkStatus();
  return Git::Run(git.Command({"gc", "--quiet", "--prune=now"}), stop).status();
}

// ---- GitMirrors

std::shared_ptr<absl::Mutex> GitMirrors::MutexOf(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<absl::Mutex>& mutex = mutexes_[name];
  if (mutex == nullptr) mutex = std::make_shared<absl::Mutex>();
  return mutex;
}

absl::StatusOr<GitMirrors::Fetched> GitMirrors::Fetch(const std::string& text,
                                                      const std::string& ref,
                                                      std::optional<uid_t> reader,
                                                      const std::stop_token& stop) {
  KDBG_ASSIGN_OR_RETURN(const RemoteUrl url,
                        CheckRemoteUrl("git_url.url", text, rules_.allowed_urls));
  if (!IsRefName(ref)) {
    return InvalidField("git_url.ref", ref, "name a branch, a tag or a whole commit id");
  }
  const std::string name = Sha256Hex(url.text).substr(0, kNameDigits);
  const fs::path repository = root_ / (name + ".git");
  Fetched fetched(repository, MutexOf(name));
  const Git git(repository);
  std::error_code error;
  if (!fs::exists(repository / "HEAD", error)) {
    KDBG_RETURN_IF_ERROR(RemoveTree(repository));
    KDBG_RETURN_IF_ERROR(WithDiskReason(MakeDirectories(root_, 0700), root_));
    KDBG_RETURN_IF_ERROR(Git::Run(git.Command({"init", "--quiet", "--bare"}), stop).status());
  }

  fs::last_write_time(repository, fs::file_time_type::clock::now(), error);  // for RemoveUnused
  std::vector<std::string> arguments = {"-c", "http.followRedirects=false",
                                        "-c", "http.lowSpeedLimit=1",
                                        "-c", "http.lowSpeedTime=60"};
  if (!rules_.ca_file.empty()) {
    arguments.insert(arguments.end(), {"-c", "http.sslCAInfo=" + rules_.ca_file.string()});
  }
  arguments.insert(arguments.end(), {"fetch", "--quiet", "--depth=1", "--no-tags",
                                     "--no-write-fetch-head", "--no-auto-maintenance"});
  if (url.scheme == "file" && reader && *reader != ::geteuid()) {
    KDBG_ASSIGN_OR_RETURN(const std::string upload_pack, UploadPackAs(*reader));
    arguments.push_back("--upload-pack=" + upload_pack);
  }
  arguments.insert(arguments.end(), {"--", url.text, fmt::format("+{}:{}", ref, kFetchedRef)});
  Subprocess::Options fetch = Git::Limited(git.Command(std::move(arguments)), kCpuSeconds);
  // In units of 512 bytes, as the shell counts: no file grows beyond it.
  fetch.argv[2].insert(0, fmt::format("ulimit -f {}; ", rules_.maximum_bytes / 512));
  fetch.environment->push_back("GIT_ALLOW_PROTOCOL=" + url.scheme);
  // git has a shell read the command, which takes the path from the environment whatever is in it.
  fetch.environment->push_back(
      fmt::format("GIT_SSH_COMMAND=ssh {}-oBatchMode=yes -oConnectTimeout=30",
                  rules_.ssh_config.empty() ? "" : R"(-F "$KDBG_SSH_CONFIG" )"));
  fetch.environment->push_back("KDBG_SSH_CONFIG=" + rules_.ssh_config.string());
  for (const char* variable : {"HOME", "https_proxy", "no_proxy"}) {
    if (const char* value = ::getenv(variable)) {
      fetch.environment->push_back(fmt::format("{}={}", variable, value));
    }
  }
  if (const auto done = Git::Run(std::move(fetch), stop); !done.ok()) {
    return FetchFailed(url.text, ref, done.status());
  }
  KDBG_ASSIGN_OR_RETURN(fetched.commit_, IdOf(git, fmt::format("{}^{{}}", kFetchedRef)));
  auto tree = IdOf(git, fmt::format("{}^{{tree}}", kFetchedRef));
  if (!tree.ok()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kRemoteRefused,
                     fmt::format("{} of {} is no commit: name a branch, a tag or a commit",
                                 ShortUtf8(ref, kShownBytes), ShortUtf8(url.text, kShownBytes)));
  }
  fetched.tree_ = *std::move(tree);
  if (auto last = IdOf(git, fmt::format("{}^{{tree}}", kTakenRef)); last.ok()) {
    fetched.last_tree_ = *std::move(last);
  }
  return fetched;
}

absl::Status GitMirrors::RemoveUnused(absl::Time since) {
  std::vector<fs::path> mirrors;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root_, error)) mirrors.push_back(entry.path());
  absl::Status all;
  for (const fs::path& mirror : mirrors) {
    const auto written = fs::last_write_time(mirror, error);
    const auto age = fs::file_time_type::clock::now() - written;
    if (!error && absl::Now() - absl::FromChrono(age) >= since) continue;
    const std::shared_ptr<absl::Mutex> mutex = MutexOf(mirror.stem().string());
    if (!mutex->TryLock()) continue;
    all.Update(RemoveTree(mirror));
    mutex->Unlock();
  }
  return all;
}

}  // namespace kdbg::source
