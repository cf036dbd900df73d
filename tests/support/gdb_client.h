// A gdb as far as the wire goes: sends packets or any bytes over TCP and reads what comes back,
// blocking.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <optional>
#include <string>
#include <string_view>

#include "proto/rsp/packet.h"
#include "proto/support/unique_fd.h"

namespace kdbg::gdb {

class GdbClient {
 public:
  explicit GdbClient(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const int on = 1;  // as gdb does
    ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    connected_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    sockaddr_in own{};
    socklen_t size = sizeof(own);
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&own), &size);
    name_ = "tcp 127.0.0.1:" + std::to_string(ntohs(own.sin_port));
  }

  bool connected() const { return connected_; }
  const std::string& name() const { return name_; }
  int fd() const { return fd_.get(); }

  void SendRaw(std::string_view bytes) {
    ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  void Send(std::string_view payload) { SendRaw(rsp::Encode(payload)); }

  // The next packet, acknowledged; nullopt at the end of the connection.
  std::optional<std::string> Read() {
    while (auto event = ReadEvent()) {
      if (event->kind != rsp::Event::Kind::kPacket) continue;
      if (acks_) SendRaw("+");
      return event->payload;
    }
    return std::nullopt;
  }
  std::optional<rsp::Event> ReadEvent() {
    while (true) {
      std::string_view rest = buffer_;
      auto event = parser_.Next(rest);
      buffer_.erase(0, buffer_.size() - rest.size());
      if (event) return event;
      char bytes[4096];
      const ssize_t size = ::recv(fd_.get(), bytes, sizeof(bytes), 0);
      if (size <= 0) return std::nullopt;
      buffer_.append(bytes, static_cast<std::size_t>(size));
    }
  }
  std::string Ask(std::string_view payload) {
    Send(payload);
    return Read().value_or("(end)");
  }
  // As gdb begins.
  std::string Attach() {
    const std::string features = Ask("qSupported:multiprocess+;swbreak+;hwbreak+");
    if (features.rfind("E.", 0) != 0) Ask("?");
    return features;
  }
  void StopAcks() {
    EXPECT_EQ(Ask("QStartNoAckMode"), "OK");
    acks_ = false;
  }
  void Vanish() { fd_.Reset(); }

 private:
  UniqueFd fd_;
  bool connected_ = false;
  bool acks_ = true;
  std::string name_;
  std::string buffer_;
  rsp::PacketParser parser_{1 << 20};
};

}  // namespace kdbg::gdb
