#include "server/gdb/io_thread.h"

#include <asio/post.hpp>

#include "absl/synchronization/notification.h"

namespace kdbg::gdb {

IoThread::IoThread()
    : work_(asio::make_work_guard(context_)), thread_([this] { context_.run(); }) {}

IoThread::~IoThread() {
  work_.reset();
  context_.stop();
  thread_.join();
}

void IoThread::Post(std::function<void()> work) { asio::post(context_, std::move(work)); }

void IoThread::RunAndWait(const std::function<void()>& work) {
  // After the end only what the context itself still held runs through here, on the thread that
  // destroys it.
  if (IsCurrent() || context_.stopped()) return work();
  absl::Notification done;
  asio::post(context_, [&] {
    work();
    done.Notify();
  });
  done.WaitForNotification();
}

}  // namespace kdbg::gdb
