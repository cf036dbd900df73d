#include "tests/support/fake_stub.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "proto/rsp/hex.h"
#include "proto/rsp/packet.h"

namespace kdbg {
namespace {

UniqueFd ListenAt(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::unlink(path.c_str());
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(fd.get(), 1) != 0) {
    fd.Reset();
  }
  return fd;
}

}  // namespace

FakeStub::FakeStub(std::string socket_path)
    : listener_(ListenAt(socket_path)),
      wake_(::eventfd(0, EFD_CLOEXEC)),
      thread_([this] { Serve(); }) {}

FakeStub::~FakeStub() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
}

void FakeStub::Wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

void FakeStub::Serve() {
  while (true) {
    int client;
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
      client = client_.get();
    }
    pollfd fds[] = {{wake_.get(), POLLIN, 0}, {client >= 0 ? client : listener_.get(), POLLIN, 0}};
    ::poll(fds, 2, -1);
    if (fds[0].revents != 0) {
      std::uint64_t count;
      [[maybe_unused]] const ssize_t size = ::read(wake_.get(), &count, sizeof(count));
    }
    if (fds[1].revents == 0) continue;
    if (client < 0) {
      UniqueFd accepted(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      absl::MutexLock lock(&mutex_);
      if (dead_) continue;
      client_ = std::move(accepted);
      if (running_) Stop("T02thread:01;");
      continue;
    }
    char bytes[4096];
    const ssize_t size = ::recv(client, bytes, sizeof(bytes), 0);
    absl::MutexLock lock(&mutex_);
    if (size <= 0) client_.Reset();
    for (ssize_t i = 0; i < size && !ended_; ++i) Read(bytes[i]);
    if (ended_) client_.Reset();
  }
}

void FakeStub::Read(char byte) {
  if (!unacknowledged_.empty()) {
    if (byte == '-') Write(unacknowledged_);
    if (byte == '+' || byte == '$') unacknowledged_.clear();
    if (byte != '$') return;
  }
  if (running_) {
    if (byte != rsp::kInterruptByte) ++stray_bytes_;
    return Stop("T02thread:01;");
  }
  switch (parse_) {
    case Parse::kIdle:
      if (byte != '$') return;
      parse_ = Parse::kLine;
      line_.clear();
      sum_ = 0;
      return;
    case Parse::kLine:
      if (byte == '#') {
        parse_ = Parse::kSumHigh;
        return;
      }
      sum_ += static_cast<unsigned char>(byte);
      if (byte == '}') {
        parse_ = Parse::kEscape;
      } else {
        line_.push_back(byte);
      }
      return;
    case Parse::kEscape:
      sum_ += static_cast<unsigned char>(byte);
      line_.push_back(static_cast<char>(byte ^ 0x20));
      parse_ = Parse::kLine;
      return;
    case Parse::kSumHigh:
    case Parse::kSumLow: {
      const auto digit = rsp::HexDigit(byte);
      if (!digit) {
        parse_ = Parse::kLine;
        return;
      }
      if (parse_ == Parse::kSumHigh) {
        received_sum_ = *digit * 16;
        parse_ = Parse::kSumLow;
        return;
      }
      parse_ = Parse::kIdle;
      if (static_cast<unsigned>(received_sum_ + *digit) != (sum_ & 255)) {
        ++naks_;
        return Write("-");
      }
      Write("+");
      return Execute(line_);
    }
  }
}

void FakeStub::Execute(const std::string& payload) {
  packets_.push_back(payload);
  if (mute_) return;
  if (payload == "k" || payload.rfind("vKill", 0) == 0) {
    ended_ = true;
    return;
  }
  if (payload == "c" || payload == "s" || payload.rfind("vCont;", 0) == 0) {
    if (refuse_to_start_) return;
    running_ = true;
    if (guest_ != nullptr) {
      if (const std::string stop = guest_->Run(payload); !stop.empty()) Stop(stop);
      return;
    }
    const bool step = payload == "s" || payload.rfind("vCont;s", 0) == 0;
    if (step || (hit_on_continue_ && !breakpoints_.empty())) Stop("T05thread:01;");
    return;
  }
  if (guest_ == nullptr) return Send(Answer(payload));
  for (const std::string& packet : guest_->Answer(payload)) Send(packet);
}

std::string FakeStub::Answer(const std::string& payload) {
  if (const auto reply = replies_.find(payload); reply != replies_.end()) return reply->second;
  if (payload == "?") {
    breakpoints_.clear();
    return "T05thread:01;";
  }
  if (payload[0] == 'Z') {
    breakpoints_.insert(payload.substr(1));
    return "OK";
  }
  if (payload[0] == 'z') return breakpoints_.erase(payload.substr(1)) != 0 ? "OK" : "E22";
  if (payload[0] == 'H') return "OK";
  if (payload[0] == 'g') return std::string(32, '0');
  if (payload[0] == 'm') {
    const auto comma = payload.find(',');
    const auto size = rsp::ParseHexNumber(std::string_view(payload).substr(comma + 1));
    return size && *size <= 2048 ? rsp::HexEncode(std::string(*size, '\x5a')) : "E22";
  }
  if (payload.rfind("qSupported", 0) == 0) {
    return "PacketSize=1000;qXfer:features:read+;vContSupported+;multiprocess+";
  }
  if (payload.rfind("qXfer:features:read:", 0) == 0) return "l<target/>";
  if (payload.rfind("qRcmd,", 0) == 0) return rsp::HexEncode("the monitor was reached\n");
  return "";
}

void FakeStub::Stop(std::string_view signal) {
  running_ = false;
  Send(signal);
}

void FakeStub::Send(std::string_view payload) {
  unacknowledged_ = rsp::Encode(payload);
  Write(unacknowledged_);
}

void FakeStub::Write(std::string_view bytes) {
  if (client_) ::send(client_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void FakeStub::SetRunning(bool running) {
  absl::MutexLock lock(&mutex_);
  if (running_ && !running) return Stop("T02thread:01;");
  running_ = running;
}
void FakeStub::HitOnContinue(bool hit) {
  absl::MutexLock lock(&mutex_);
  hit_on_continue_ = hit;
}
void FakeStub::RefuseToStart(bool refuse) {
  absl::MutexLock lock(&mutex_);
  refuse_to_start_ = refuse;
}
void FakeStub::Mute(bool mute) {
  absl::MutexLock lock(&mutex_);
  mute_ = mute;
}
void FakeStub::SetReply(std::string packet, std::string reply) {
  absl::MutexLock lock(&mutex_);
  replies_[std::move(packet)] = std::move(reply);
}
void FakeStub::SetGuest(StubGuest* guest) {
  absl::MutexLock lock(&mutex_);
  guest_ = guest;
}
void FakeStub::HitBreakpoint() {
  absl::MutexLock lock(&mutex_);
  if (running_) Stop("T05thread:01;");
}
void FakeStub::SendRaw(std::string bytes) {
  absl::MutexLock lock(&mutex_);
  Write(bytes);
}
void FakeStub::Die() {
  absl::MutexLock lock(&mutex_);
  dead_ = true;
  if (client_) ::shutdown(client_.get(), SHUT_RDWR);
}

bool FakeStub::running() const {
  absl::MutexLock lock(&mutex_);
  return running_;
}
bool FakeStub::ended() const {
  absl::MutexLock lock(&mutex_);
  return ended_;
}
std::set<std::string> FakeStub::breakpoints() const {
  absl::MutexLock lock(&mutex_);
  return breakpoints_;
}
std::vector<std::string> FakeStub::packets() const {
  absl::MutexLock lock(&mutex_);
  return packets_;
}
int FakeStub::stray_bytes() const {
  absl::MutexLock lock(&mutex_);
  return stray_bytes_;
}
int FakeStub::naks() const {
  absl::MutexLock lock(&mutex_);
  return naks_;
}

bool FakeStub::WaitRunning(bool running, absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  const auto reached = [this, running]()
                           ABSL_NO_THREAD_SAFETY_ANALYSIS { return running_ == running; };
  return mutex_.AwaitWithTimeout(absl::Condition(&reached), timeout);
}

bool FakeStub::WaitForPacket(std::string_view payload, absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  const auto seen = [this, payload]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return std::find(packets_.begin(), packets_.end(), payload) != packets_.end();
  };
  return mutex_.AwaitWithTimeout(absl::Condition(&seen), timeout);
}

}  // namespace kdbg
