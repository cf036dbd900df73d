// The one thread on which all gdb traffic of the daemon runs: stub connections, listening ports,
// clients.
//
// Relaying a packet is a few microseconds of work, so one thread serves thousands of links and no
// link needs a lock. Nothing that runs on it may block.
#pragma once

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <thread>

#include "server/gdb/traffic.h"

namespace kdbg::gdb {

class IoThread {
 public:
  IoThread();
  // Stops and joins; every StubLink, Gateway and Door on it must be gone before.
  ~IoThread();
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  asio::io_context& context() { return context_; }
  bool IsCurrent() const { return std::this_thread::get_id() == thread_.get_id(); }

  // Of all that runs on it.
  Traffic& traffic() { return traffic_; }

  // Runs `work` on the thread, later.
  void Post(std::function<void()> work);
  // Runs `work` on the thread and returns when it has; at once when called on the thread itself.
  void RunAndWait(const std::function<void()>& work);

 private:
  Traffic traffic_;
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::thread thread_;
};

}  // namespace kdbg::gdb
