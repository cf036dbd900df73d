// Bytes on their way into a non-blocking socket: at once as far as it takes them, the rest when it
// can. For the I/O thread.
#pragma once

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/socket_base.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace kdbg::gdb {

template <typename Socket>
class Outbound {
 public:
  explicit Outbound(Socket& socket) : socket_(socket) {}

  std::size_t pending() const { return unsent_.size(); }
  void Append(std::string_view bytes) { unsent_ += bytes; }

  // Mostly the socket takes everything: no trip through the event loop on the way. `owner` holds
  // this object and lives until the rest is sent. A broken connection drops the rest; the reading
  // side meets the error and reports it.
  void Flush(std::shared_ptr<void> owner) {
    if (waiting_) return;
    asio::error_code error;
    while (!unsent_.empty() && !error) {
      unsent_.erase(0, socket_.write_some(asio::buffer(unsent_), error));
    }
    if (error && error != asio::error::would_block) unsent_.clear();
    if (unsent_.empty()) {
      if (auto drained = std::exchange(on_drained_, nullptr)) drained();
      return;
    }
    waiting_ = true;
    socket_.async_wait(asio::socket_base::wait_write, [this, owner](asio::error_code wait_error) {
      waiting_ = false;
      if (!wait_error) Flush(owner);
    });
  }

  // Once, when nothing is pending any more.
  void OnDrained(std::function<void()> drained) {
    if (unsent_.empty()) return drained();
    on_drained_ = std::move(drained);
  }

 private:
  Socket& socket_;
  std::string unsent_;
  bool waiting_ = false;
  std::function<void()> on_drained_;
};

}  // namespace kdbg::gdb
