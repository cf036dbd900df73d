#include "server/guest/io_watcher.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>

#include <array>
#include <cerrno>
#include <set>
#include <utility>

#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"

namespace kdbg::guest {
namespace {

constexpr std::uint64_t kInotifyKey = 1;
constexpr std::uint64_t kStopKey = 2;
constexpr std::uint64_t kTimerKey = 3;
constexpr std::uint32_t kOnce = EPOLLIN | EPOLLONESHOT;

// QEMU hands on what a guest prints byte by byte. To wake for each of them would take the CPU that
// the guest prints with: after something came, more is let come for so long. A socket holds but
// some 270 such bytes, and QEMU waits when it is full; a file takes them all.
constexpr timespec kGatherSocket{.tv_sec = 0, .tv_nsec = 100'000};
constexpr itimerspec kGatherFile{.it_interval = {},
                                 .it_value = {.tv_sec = 0, .tv_nsec = 2'000'000}};

bool Control(int epoll, int operation, int fd, std::uint64_t key, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  return ::epoll_ctl(epoll, operation, fd, &event) == 0;
}

absl::Status Add(int epoll, int fd, std::uint64_t key, std::uint32_t events = EPOLLIN) {
  if (Control(epoll, EPOLL_CTL_ADD, fd, key, events)) return absl::OkStatus();
  return ErrnoError(errno, "watch a descriptor");
}

}  // namespace

absl::StatusOr<std::unique_ptr<IoWatcher>> IoWatcher::Start() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  UniqueFd inotify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  if (!epoll || !inotify || !timer || !stop) return ErrnoError(errno, "set up watching of files");
  KDBG_RETURN_IF_ERROR(Add(epoll.get(), inotify.get(), kInotifyKey, kOnce));
  KDBG_RETURN_IF_ERROR(Add(epoll.get(), timer.get(), kTimerKey));
  KDBG_RETURN_IF_ERROR(Add(epoll.get(), stop.get(), kStopKey));
  return std::unique_ptr<IoWatcher>(
      new IoWatcher(std::move(epoll), std::move(inotify), std::move(timer), std::move(stop)));
}

IoWatcher::IoWatcher(UniqueFd epoll, UniqueFd inotify, UniqueFd timer, UniqueFd stop)
    : epoll_(std::move(epoll)),
      inotify_(std::move(inotify)),
      timer_(std::move(timer)),
      stop_(std::move(stop)) {
  thread_ = std::thread([this] { Run(); });
}

IoWatcher::~IoWatcher() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

absl::StatusOr<Subscription> IoWatcher::WatchFile(const std::filesystem::path& file,
                                                  std::function<void()> changed) {
  absl::MutexLock lock(&mutex_);
  const int watch = ::inotify_add_watch(inotify_.get(), file.c_str(), IN_MODIFY | IN_DONT_FOLLOW);
  if (watch < 0) return ErrnoError(errno, fmt::format("watch {}", file.string()));
  WatchedFile& watched = files_[watch];
  if (watched.changed == nullptr) watched.changed = std::make_shared<Subscribers<>>();
  ++watched.users;
  return Subscription(
      [this, watch,
       entry = std::make_shared<Subscription>(watched.changed->Add(std::move(changed)))] {
        entry->Reset();
        absl::MutexLock lock(&mutex_);
        auto found = files_.find(watch);
        if (found == files_.end() || --found->second.users > 0) return;
        files_.erase(found);
        ::inotify_rm_watch(inotify_.get(), watch);
      });
}

absl::StatusOr<Subscription> IoWatcher::WatchReadable(int fd, std::function<void()> readable) {
  auto listeners = std::make_shared<Subscribers<>>();
  auto entry = std::make_shared<Subscription>(listeners->Add(std::move(readable)));
  absl::MutexLock lock(&mutex_);
  const std::uint64_t key = next_key_++;
  KDBG_RETURN_IF_ERROR(Add(epoll_.get(), fd, key));
  readable_.emplace(key, std::move(listeners));
  return Subscription([this, key, fd, entry] {
    {
      absl::MutexLock lock(&mutex_);
      readable_.erase(key);
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    }
    entry->Reset();
  });
}

void IoWatcher::Run() {
  std::array<epoll_event, 64> events{};
  while (true) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      const std::uint64_t key = events[i].data.u64;
      if (key == kStopKey) return;
      if (key == kInotifyKey) {
        ReadInotify();
        ::timerfd_settime(timer_.get(), 0, &kGatherFile, nullptr);
      } else if (key == kTimerKey) {
        ::eventfd_t expirations = 0;
        ::eventfd_read(timer_.get(), &expirations);
        Control(epoll_.get(), EPOLL_CTL_MOD, inotify_.get(), kInotifyKey, kOnce);
      } else {
        Dispatch(key);
      }
    }
    pollfd stop{.fd = stop_.get(), .events = POLLIN, .revents = 0};
    ::ppoll(&stop, 1, &kGatherSocket, nullptr);
  }
}

void IoWatcher::ReadInotify() {
  alignas(inotify_event) std::array<char, 16384> buffer;
  const ssize_t size = ::read(inotify_.get(), buffer.data(), buffer.size());
  std::set<std::shared_ptr<Subscribers<>>> changed;
  {
    absl::MutexLock lock(&mutex_);
    for (ssize_t at = 0; at < size;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      if ((event->mask & IN_Q_OVERFLOW) != 0) {
        // Which files changed is lost: all may have.
        for (const auto& [watch, file] : files_) changed.insert(file.changed);
      } else if (auto found = files_.find(event->wd); found != files_.end()) {
        changed.insert(found->second.changed);
      }
    }
  }
  for (const auto& listeners : changed) listeners->Notify();
}

void IoWatcher::Dispatch(std::uint64_t key) {
  std::shared_ptr<Subscribers<>> listeners;
  {
    absl::MutexLock lock(&mutex_);
    auto found = readable_.find(key);
    if (found == readable_.end()) return;
    listeners = found->second;
  }
  listeners->Notify();
}

}  // namespace kdbg::guest
