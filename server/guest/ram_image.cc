#include "server/guest/ram_image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"

namespace kdbg::guest {
namespace {

constexpr std::string_view kLabel = "KDBG_KEEPER=";  // in a keeper's environment
constexpr int kMemoryFd = 3;                         // in the keeper
constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kChunk = 256 * kPage;

// Says when it is what it is to be, then waits to be told to stay; without a word it ends.
constexpr char kKeeperScript[] = "echo; read -r stay && exec sleep infinity >/dev/null";

std::filesystem::path MemoryPath(int pid) { return fmt::format("/proc/{}/fd/{}", pid, kMemoryFd); }

bool Ended(int pidfd, int patience_ms = 0) {
  pollfd waiting{.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, patience_ms) != 0;
}

void Kill(int pidfd) {
  constexpr int kSoonMs = 1000;  // it sleeps: it ends at once
  if (::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0) == 0) Ended(pidfd, kSoonMs);
}

// Field 22 of /proc/PID/stat; the name in field 2 may hold anything.
absl::StatusOr<std::int64_t> StartTicks(int pid) {
  KDBG_ASSIGN_OR_RETURN(const std::string text, ReadFile(fmt::format("/proc/{}/stat", pid)));
  std::size_t at = text.rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = text.find(' ', at + 1);
  std::int64_t ticks = 0;
  if (at == std::string::npos ||
      std::from_chars(text.data() + at + 1, text.data() + text.size(), ticks).ec != std::errc()) {
    return absl::InternalError(fmt::format("/proc/{}/stat is not what it should be", pid));
  }
  return ticks;
}

absl::StatusOr<std::uint64_t> InodeOf(int fd, std::int64_t size_bytes) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return ErrnoError(errno, "look at a memory image");
  if (status.st_size != size_bytes) return absl::DataLossError("the memory image has another size");
  return status.st_ino;
}

std::vector<std::string> KeeperCommand(const std::optional<host::Identity>& run_as) {
  std::vector<std::string> command = {"sh", "-c", kKeeperScript, "kdbg-keeper"};
  if (run_as) {
    command.insert(command.begin(),
                   {"setpriv", "--reuid", std::to_string(run_as->uid), "--regid",
                    std::to_string(run_as->gid), "--clear-groups", "--no-new-privs", "--"});
  }
  return command;
}

}  // namespace

RamImage::RamImage(UniqueFd memory, std::int64_t size_bytes)
    : memory_(std::move(memory)), size_bytes_(size_bytes) {}

RamImage::~RamImage() {
  if (kept_ && child_) child_->Leave();
}

absl::StatusOr<std::unique_ptr<RamImage>> RamImage::Make(std::int64_t size_bytes,
                                                         std::optional<host::Identity> run_as,
                                                         const std::filesystem::path& label) {
  UniqueFd memory(::memfd_create("kdbg-template", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory || ::ftruncate(memory.get(), size_bytes) != 0) {
    return ErrnoError(errno, "make a memory image");
  }
  std::array<int, 2> lifeline{};
  std::array<int, 2> started{};
  if (::pipe2(lifeline.data(), O_CLOEXEC) != 0) return ErrnoError(errno, "make a pipe");
  const UniqueFd keepers_end(lifeline[0]);
  UniqueFd our_end(lifeline[1]);
  if (::pipe2(started.data(), O_CLOEXEC) != 0) return ErrnoError(errno, "make a pipe");
  const UniqueFd told(started[0]);
  UniqueFd tells(started[1]);

  std::unique_ptr<RamImage> image(new RamImage(std::move(memory), size_bytes));
  Subprocess::Options options;
  options.argv = KeeperCommand(run_as);
  options.environment = {"PATH=/usr/bin:/bin", fmt::format("{}{}", kLabel, label.native())};
  options.descriptors = {
      {0, keepers_end.get()}, {1, tells.get()}, {kMemoryFd, image->memory_.get()}};
  KDBG_ASSIGN_OR_RETURN(image->child_, Subprocess::Start(options));
  image->lifeline_ = std::move(our_end);
  tells.Reset();
  char word = 0;
  if (::read(told.get(), &word, 1) != 1) {
    return absl::UnavailableError(
        "no keeper for a memory image could be started under the guest's "
        "uid; see that setpriv (util-linux) is installed");
  }
  image->mark_.pid = image->child_->pid();
  KDBG_ASSIGN_OR_RETURN(image->mark_.start_ticks, StartTicks(image->mark_.pid));
  KDBG_ASSIGN_OR_RETURN(image->mark_.inode, InodeOf(image->memory_.get(), size_bytes));
  return image;
}

absl::StatusOr<std::unique_ptr<RamImage>> RamImage::Adopt(const KeeperMark& mark,
                                                          std::int64_t size_bytes) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, mark.pid, 0)));
  // The handle first: what is read of the pid while its process lives is of that process.
  const absl::StatusOr<std::int64_t> ticks = StartTicks(mark.pid);
  if (!pidfd || !ticks.ok() || *ticks != mark.start_ticks || Ended(pidfd.get())) {
    return absl::NotFoundError("the keeper of the memory image is gone");
  }
  UniqueFd memory(::open(MemoryPath(mark.pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!memory) return ErrnoError(errno, "open a keeper's memory image");
  KDBG_ASSIGN_OR_RETURN(const std::uint64_t inode, InodeOf(memory.get(), size_bytes));
  if (inode != mark.inode || (::fcntl(memory.get(), F_GET_SEALS) & kSeals) != kSeals) {
    return absl::DataLossError("the keeper has another memory image, or one that is not sealed");
  }
  std::unique_ptr<RamImage> image(new RamImage(std::move(memory), size_bytes));
  image->mark_ = mark;
  image->pidfd_ = std::move(pidfd);
  image->kept_ = true;
  return image;
}

std::filesystem::path RamImage::path() const { return MemoryPath(mark_.pid); }

absl::Status RamImage::Seal() {
  if (::fcntl(memory_.get(), F_ADD_SEALS, kSeals) == 0) return absl::OkStatus();
  if (errno == EBUSY) {
    return absl::FailedPreconditionError("a machine still writes to the memory image");
  }
  return ErrnoError(errno, "seal a memory image");
}

absl::StatusOr<std::string> RamImage::Digest() const {
  static constexpr std::array<char, kPage> kZeros{};
  Sha256 hash;
  hash.Update(fmt::format("{}\n", size_bytes_));
  std::vector<char> chunk(kChunk);
  off_t at = 0;
  while ((at = ::lseek(memory_.get(), at, SEEK_DATA)) >= 0 && at < size_bytes_) {
    at -= at % static_cast<off_t>(kPage);
    const ssize_t got = ::pread(memory_.get(), chunk.data(), chunk.size(), at);
    if (got <= 0) return ErrnoError(errno, "read a memory image");
    for (ssize_t offset = 0; offset < got; offset += kPage) {
      const auto length = std::min<std::size_t>(kPage, static_cast<std::size_t>(got - offset));
      if (std::memcmp(chunk.data() + offset, kZeros.data(), length) == 0) continue;
      hash.Update(fmt::format("{}\n", at + offset));
      hash.Update(std::string_view(chunk.data() + offset, length));
    }
    at += got;
  }
  return hash.FinishHex();
}

std::int64_t RamImage::resident_bytes() const {
  struct stat status {};
  return ::fstat(memory_.get(), &status) == 0 ? status.st_blocks * 512 : 0;
}

bool RamImage::reachable() const { return !Ended(child_ ? child_->pidfd() : pidfd_.get()); }

absl::Status RamImage::Keep() {
  KDBG_RETURN_IF_ERROR(WriteAll(lifeline_.get(), "stay\n"));
  kept_ = true;
  return absl::OkStatus();
}

void RamImage::Discard() {
  kept_ = false;
  child_.reset();
  if (pidfd_) Kill(pidfd_.get());
}

void EndStrayKeepers(const std::filesystem::path& below, const std::set<int>& known) {
  const std::string mark = fmt::format("{}{}/", kLabel, below.native());
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    int pid = 0;
    const std::string name = entry.path().filename();
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr !=
            name.data() + name.size() ||
        known.contains(pid)) {
      continue;
    }
    const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    const absl::StatusOr<std::string> environment = ReadFile(entry.path() / "environ");
    if (!pidfd || !environment.ok()) continue;
    const std::size_t at = environment->find(mark);
    if (at == 0 || (at != std::string::npos && (*environment)[at - 1] == '\0')) {
      Kill(pidfd.get());
    }
  }
}

}  // namespace kdbg::guest
