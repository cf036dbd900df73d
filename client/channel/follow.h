// Reading a server stream to its end through interrupts and lost connections.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "client/channel/server.h"
#include "client/terminal/interrupt.h"

namespace kdbg::client {

// CANCELLED, when the user stopped watching rather than the call failing.
absl::Status InterruptedError();
bool IsInterrupted(const absl::Status& status);

// A stream broken this often without one message in between is given up.
inline constexpr int kFollowAttempts = 4;
inline constexpr absl::Duration kReconnectPatience = absl::Seconds(10);

enum class Next { kGoOn, kEnough };

// Opens a stream with `open` (called again after each lost connection: it asks for what is still
// missing) and hands each message to `consume`, until the server ends it (OK), `consume` has enough
// (OK) or the user interrupts.
template <typename Message>
absl::Status Follow(
    Server& server, Interrupt& interrupt,
    const std::function<std::unique_ptr<grpc::ClientReader<Message>>(grpc::ClientContext*)>& open,
    const std::function<Next(const Message&)>& consume) {
  for (int attempt = 1;; ++attempt) {
    grpc::ClientContext context;
    Interrupt::Scope scope(interrupt, [&context] { context.TryCancel(); });
    auto reader = open(&context);
    Message message;
    bool enough = false;
    while (!enough && reader->Read(&message)) {
      attempt = 1;
      enough = consume(message) == Next::kEnough;
    }
    if (enough) {
      context.TryCancel();
      reader->Finish();
      return absl::OkStatus();
    }
    const grpc::Status status = reader->Finish();
    if (status.ok()) return absl::OkStatus();
    if (scope.fired()) return InterruptedError();
    absl::Status translated = server.Translate(status);
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE || attempt >= kFollowAttempts ||
        !server.Reconnect(kReconnectPatience)) {
      return translated;
    }
    if (scope.fired()) return InterruptedError();  // while waiting for the server
  }
}

}  // namespace kdbg::client
