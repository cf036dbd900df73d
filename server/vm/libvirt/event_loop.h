// libvirt's event loop on a thread of its own. An embedded hypervisor does its work on it, so it
// has to run for as long as a connection is open.
//
// libvirt has one loop per process: there is one EventLoop at a time.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "absl/status/statusor.h"

namespace kdbg::vm {

class EventLoop {
 public:
  static absl::StatusOr<std::unique_ptr<EventLoop>> Start();
  // Stops and joins; every connection must be closed.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

 private:
  EventLoop();

  std::atomic<bool> stop_ = false;
  int wake_timer_ = -1;
  std::thread thread_;
};

}  // namespace kdbg::vm
