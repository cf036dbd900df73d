// A client that speaks through a call into the daemon. For the I/O thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "server/gdb/client.h"
#include "server/gdb/gateway.h"
#include "server/gdb/transport.h"

namespace kdbg::gdb {

class StreamTransport final : public Transport {
 public:
  explicit StreamTransport(Door::StreamEvents events) : events_(std::move(events)) {}

  void SetClient(const std::shared_ptr<Client>& client) { client_ = client; }
  void Receive(std::string_view bytes) {
    if (auto client = client_.lock()) client->Receive(bytes);
  }
  // The caller has gone: nothing more is told.
  void Drop() {
    events_ = {};
    if (auto client = client_.lock()) client->Vanish();
  }

  // The callbacks may drop the stream, and with it themselves: hence copies.
  void Send(std::string bytes) override {
    if (const auto to_client = events_.to_client) to_client(std::move(bytes));
  }
  void SendAhead(Ahead ahead) {
    if (const auto ahead_to_client = events_.ahead_to_client) ahead_to_client(std::move(ahead));
  }
  void Finish() override { Abort(); }
  void Abort() override {
    const auto closed = std::exchange(events_, {}).closed;
    if (closed) closed();
  }

 private:
  Door::StreamEvents events_;
  std::weak_ptr<Client> client_;
};

}  // namespace kdbg::gdb
