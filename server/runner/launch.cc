#include "server/runner/launch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string>
#include <vector>

#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"
#include "server/host/runner_protocol.pb.h"
#include "server/runner/give.h"
#include "server/runner/options.h"

namespace kdbg::runner {
namespace {

using host::wire::LaunchOrder;

constexpr int kLaunchFailed = 125;
// In the launcher's own mount namespace only. bubblewrap needs this directory to be there as well.
constexpr char kStage[] = "/tmp";
constexpr rlim_t kOpenFiles = 8192;

absl::Status JoinCgroups(const LaunchOrder& order) {
  for (const std::string& file : order.cgroup_procs()) {
    const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd || ::write(fd.get(), "0", 1) != 1) return ErrnoError(errno, "join " + file);
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> OpenSource(const LaunchOrder::Source& source) {
  const UniqueFd root(::open(source.root().c_str(), O_PATH | O_CLOEXEC));
  if (!root) return ErrnoError(errno, "open " + source.root());
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  UniqueFd fd(static_cast<int>(
      ::syscall(SYS_openat2, root.get(), source.relative().c_str(), &how, sizeof how)));
  if (!fd) return ErrnoError(errno, fmt::format("open {}/{}", source.root(), source.relative()));
  return fd;
}

// Shows what `fd` names as /tmp/<index>.
absl::Status StageOne(int fd, int index, bool writable) {
  const std::string place = fmt::format("{}/{}", kStage, index);
  struct stat status {};
  if (::fstat(fd, &status) != 0) return ErrnoError(errno, "stat a source");
  const bool made =
      S_ISDIR(status.st_mode)
          ? ::mkdir(place.c_str(), 0755) == 0
          : bool(UniqueFd(::open(place.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0444)));
  if (!made) return ErrnoError(errno, "make " + place);
  const std::string source = fmt::format("/proc/self/fd/{}", fd);
  if (::mount(source.c_str(), place.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return ErrnoError(errno, "bind " + place);
  }
  // What root sets here, the user namespace inside cannot take back.
  const unsigned long read_only = writable ? 0 : MS_RDONLY;
  if (::mount(nullptr, place.c_str(), nullptr,
              MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | read_only, nullptr) != 0) {
    return ErrnoError(errno, "restrict " + place);
  }
  return absl::OkStatus();
}

// The sources are opened here, as root: the directories above them can be closed to the build's
// uid. bubblewrap takes paths only, and none that lead to a mount of another namespace, so each is
// bound where that uid can reach it.
absl::Status Stage(const LaunchOrder& order) {
  if (::unshare(CLONE_NEWNS) != 0) return ErrnoError(errno, "make a mount namespace");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
    return ErrnoError(errno, "detach from the mounts of the host");
  }
  std::vector<UniqueFd> sources;
  for (const LaunchOrder::Source& source : order.sources()) {
    KDBG_ASSIGN_OR_RETURN(UniqueFd fd, OpenSource(source));
    if (source.writable()) {
      KDBG_RETURN_IF_ERROR(GiveTo(fd.get(), order.given_by_uid(), order.uid(), order.gid()));
    }
    sources.push_back(std::move(fd));
  }
  if (::mount("kdbg", kStage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") != 0) {
    return ErrnoError(errno, "mount a stage");
  }
  for (int i = 0; i < order.sources_size(); ++i) {
    KDBG_RETURN_IF_ERROR(
        StageOne(sources[static_cast<std::size_t>(i)].get(), i, order.sources(i).writable()));
  }
  return absl::OkStatus();
}

absl::Status Limit(__rlimit_resource resource, rlim_t value, std::string_view what) {
  rlimit current{};
  ::getrlimit(resource, &current);
  // Without CAP_SYS_RESOURCE a hard limit that is lower already stays.
  const rlim_t both = std::min(value, current.rlim_max);
  const rlimit limit{.rlim_cur = both, .rlim_max = both};
  if (::setrlimit(resource, &limit) != 0) return ErrnoError(errno, fmt::format("limit {}", what));
  return absl::OkStatus();
}

absl::Status SetLimits(const LaunchOrder& order) {
  KDBG_RETURN_IF_ERROR(Limit(RLIMIT_CORE, 0, "core dumps"));
  KDBG_RETURN_IF_ERROR(Limit(RLIMIT_NOFILE, kOpenFiles, "open files"));
  if (order.file_bytes() > 0) {
    KDBG_RETURN_IF_ERROR(
        Limit(RLIMIT_FSIZE, static_cast<rlim_t>(order.file_bytes()), "the size of a file"));
  }
  if (order.data_bytes() > 0) {
    KDBG_RETURN_IF_ERROR(
        Limit(RLIMIT_DATA, static_cast<rlim_t>(order.data_bytes()), "the memory of a process"));
  }
  if (order.threads() > 0) {
    KDBG_RETURN_IF_ERROR(Limit(RLIMIT_NPROC, static_cast<rlim_t>(order.threads()), "processes"));
  }
  if (order.nice() > 0 && ::setpriority(PRIO_PROCESS, 0, order.nice()) != 0) {
    return ErrnoError(errno, "set the priority");
  }
  // When the host itself runs out of memory, builds go before the daemon and the guests.
  return WriteFileIfThere("/proc/self/oom_score_adj", "500");
}

absl::Status BecomeBuildUser(const LaunchOrder& order) {
  const uid_t uid = order.uid();
  const gid_t gid = order.gid();
  if (::setgroups(0, nullptr) != 0) return ErrnoError(errno, "drop the groups");
  if (::setresgid(gid, gid, gid) != 0) return ErrnoError(errno, "drop the group");
  if (::setresuid(uid, uid, uid) != 0) return ErrnoError(errno, "drop the user");
  if (uid == 0 || ::setresuid(0, 0, 0) == 0 || ::setresgid(0, 0, 0) == 0) {
    return absl::InternalError("root's rights could be taken back");
  }
  return absl::OkStatus();
}

absl::Status BecomeBubblewrap(const LaunchOrder& order) {
  // After the change of user, which clears it. It follows the thread that started us, and the
  // supervisor has only one.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != order.parent_pid()) {
    return absl::AbortedError("the supervisor has gone");
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return ErrnoError(errno, "give up privileges");
  ::umask(022);
  if (::chdir("/") != 0) return ErrnoError(errno, "go to /");
  ::close(kOrderFd);
  // Whatever somebody above us forgot to close stays out of the sandbox.
  const unsigned int first_unknown = kFirstFileFd + order.file_count();
  if (::close_range(first_unknown, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
    return ErrnoError(errno, "close descriptors");
  }
  std::vector<char*> argv;
  for (const std::string& word : order.argv()) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  char path[] = "PATH=/usr/bin:/bin";
  char* environment[] = {path, nullptr};
  ::execvpe(argv[0], argv.data(), environment);
  if (errno == ENOENT) {
    return absl::FailedPreconditionError("bubblewrap is not installed (apt install bubblewrap)");
  }
  return ErrnoError(errno, "start bubblewrap");
}

absl::Status Follow(const LaunchOrder& order) {
  KDBG_RETURN_IF_ERROR(JoinCgroups(order));
  if (order.has_uid()) KDBG_RETURN_IF_ERROR(Stage(order));
  KDBG_RETURN_IF_ERROR(SetLimits(order));
  if (order.has_uid()) KDBG_RETURN_IF_ERROR(BecomeBuildUser(order));
  return BecomeBubblewrap(order);
}

}  // namespace

int Launch() {
  LaunchOrder order;
  absl::Status status = absl::InternalError("unreadable order");
  if (::lseek(kOrderFd, 0, SEEK_SET) == 0 && order.ParseFromFileDescriptor(kOrderFd)) {
    status = Follow(order);
  }
  WriteAll(kStatusFd, fmt::format("{}{}\n", kLaunchFailure, std::string(status.message())))
      .IgnoreError();
  return kLaunchFailed;
}

}  // namespace kdbg::runner
