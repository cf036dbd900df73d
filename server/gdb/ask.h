// The stub channel's requests as awaitables. For the I/O thread.
#pragma once

#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/gdb/stub_channel.h"

namespace kdbg::gdb {

using Answered = absl::StatusOr<std::string>;

namespace internal {

// An awaiting coroutine must not be resumed from within its own start, and the channel may answer
// at once: hence the post.
template <typename Start>
asio::awaitable<Answered> Await(asio::any_io_executor executor, Start start) {
  return asio::async_initiate<const asio::use_awaitable_t<>&, void(Answered)>(
      [executor, start = std::move(start)](auto handler) {
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        start([executor, shared](Answered answer) {
          asio::post(executor, [shared, answer = std::move(answer)]() mutable {
            (*shared)(std::move(answer));
          });
        });
      },
      asio::use_awaitable);
}

}  // namespace internal

inline asio::awaitable<Answered> Ask(std::shared_ptr<StubChannel> channel, std::string packet) {
  const auto executor = channel->executor();
  return internal::Await(executor, [channel, packet = std::move(packet)](auto done) {
    channel->Exchange(packet, std::move(done));
  });
}

inline asio::awaitable<Answered> AskMonitor(std::shared_ptr<StubChannel> channel,
                                            std::string command) {
  const auto executor = channel->executor();
  return internal::Await(executor, [channel, command = std::move(command)](auto done) {
    channel->Monitor(command, std::move(done));
  });
}

}  // namespace kdbg::gdb
