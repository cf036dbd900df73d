#include "server/vm/libvirt/event_loop.h"

#include <libvirt/libvirt.h>

#include "proto/contract/error.h"

namespace kdbg::vm {

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Start() {
  static const bool registered = virEventRegisterDefaultImpl() == 0;
  if (!registered) {
    return MakeError(absl::StatusCode::kUnavailable, Reason::kHypervisorUnavailable,
                     "libvirt's event loop cannot be set up in this process");
  }
  return std::unique_ptr<EventLoop>(new EventLoop());
}

EventLoop::EventLoop() {
  // Asleep (-1) until the destructor sets it off, which gets the loop out of its poll.
  wake_timer_ = virEventAddTimeout(
      -1, [](int, void*) {}, nullptr, nullptr);
  thread_ = std::thread([this] {
    while (!stop_.load()) virEventRunDefaultImpl();
  });
}

EventLoop::~EventLoop() {
  stop_.store(true);
  virEventUpdateTimeout(wake_timer_, 0);
  thread_.join();
  virEventRemoveTimeout(wake_timer_);
}

}  // namespace kdbg::vm
