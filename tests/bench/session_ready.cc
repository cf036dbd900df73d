// session_ready SOCKET KERNEL INITRAMFS BANNER ROUNDS HELD: sessions at start_kernel, by a program
// that stays: from CreateSession to `g` and 64 bytes of linux_banner (at BANNER, hex) read through
// the gdb port, and right. ROUNDS times one that is removed again, with a pause for the next to be
// made ahead; then HELD in a row. Prints a line of JSON for each: how it came and its milliseconds.
#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "kdbg/v1/session_service.grpc.pb.h"
#include "proto/rsp/hex.h"
#include "proto/rsp/packet.h"
#include "proto/support/unique_fd.h"

namespace {

using namespace kdbg;
using Clock = std::chrono::steady_clock;

[[noreturn]] void Die(const std::string& why) {
  std::fprintf(stderr, "session_ready: %s\n", why.c_str());
  std::exit(1);
}

std::string Ask(const UniqueFd& port, std::string_view packet) {
  const std::string bytes = rsp::Encode(packet);
  if (::send(port.get(), bytes.data(), bytes.size(), 0) < 0) Die("the port hung up");
  rsp::PacketParser parser(std::size_t{1} << 16);
  for (char buffer[4096];;) {
    const ssize_t got = ::recv(port.get(), buffer, sizeof buffer, 0);
    if (got <= 0) Die("the port hung up");
    std::string_view rest(buffer, static_cast<std::size_t>(got));
    while (const auto event = parser.Next(rest)) {
      if (event->kind != rsp::Event::Kind::kPacket) continue;
      if (::send(port.get(), "+", 1, 0) < 0) Die("the port hung up");
      return event->payload;
    }
  }
}

// The connection it read through: a guest that loses its client runs on, and these are to wait.
UniqueFd ReadThrough(const v1::GdbEndpoint& endpoint, const std::string& banner) {
  UniqueFd port(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(endpoint.port()));
  ::inet_pton(AF_INET, endpoint.host().c_str(), &address.sin_addr);
  if (::connect(port.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    Die("nobody listens on the gdb port");
  }
  const int now = 1;
  ::setsockopt(port.get(), IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
  if (Ask(port, "g").size() < 16) Die("no registers");
  const std::string text = rsp::HexDecode(Ask(port, "m" + banner + ",40")).value_or("");
  if (!text.starts_with("Linux version ")) Die("linux_banner reads " + text);
  return port;
}

class Client {
 public:
  Client(char** arguments)
      : stub_(v1::SessionService::NewStub(grpc::CreateChannel(std::string("unix:") + arguments[1],
                                                              grpc::InsecureChannelCredentials()))),
        banner_(arguments[4]) {
    request_.mutable_session()->set_kernel(arguments[2]);
    request_.mutable_session()->set_initramfs(arguments[3]);
  }

  struct Ready {
    std::string name;
    UniqueFd port;
  };

  // Says how long it took.
  Ready Create() {
    const auto begin = Clock::now();
    v1::Session session;
    grpc::ClientContext create;
    if (const auto status = stub_->CreateSession(&create, request_, &session); !status.ok()) {
      Die(status.error_message());
    }
    if (session.state() != v1::Session::READY) {
      grpc::ClientContext watch;
      v1::GetSessionRequest wanted;
      wanted.set_name(session.name());
      const auto changes = stub_->WatchSession(&watch, wanted);
      while (session.state() != v1::Session::READY && changes->Read(&session)) {
      }
      watch.TryCancel();
    }
    if (session.state() != v1::Session::READY) Die(session.name() + " did not become ready");
    UniqueFd port = ReadThrough(session.gdb(), banner_);
    const std::chrono::duration<double, std::milli> took = Clock::now() - begin;
    std::printf("{\"origin\": \"%s\", \"ms\": %.2f}\n",
                v1::Session::Origin_Name(session.origin()).c_str(), took.count());
    std::fflush(stdout);
    return {.name = session.name(), .port = std::move(port)};
  }

  void Remove(const std::string& name) {
    grpc::ClientContext context;
    v1::DeleteSessionRequest request;
    request.set_name(name);
    google::protobuf::Empty nothing;
    stub_->DeleteSession(&context, request, &nothing);
  }

 private:
  const std::unique_ptr<v1::SessionService::Stub> stub_;
  const std::string banner_;
  v1::CreateSessionRequest request_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  Client client(argv);
  for (int i = 0; i < std::atoi(argv[5]); ++i) {
    client.Remove(client.Create().name);
    std::this_thread::sleep_for(std::chrono::seconds(2));
  }
  std::vector<Client::Ready> held;
  for (int i = 0; i < std::atoi(argv[6]); ++i) held.push_back(client.Create());
  for (const Client::Ready& session : held) client.Remove(session.name);
  return 0;
}
