#include "server/gdb/door_core.h"

#include <fmt/format.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "proto/contract/error.h"
#include "server/gdb/io_thread.h"
#include "server/gdb/peer_uid.h"
#include "server/gdb/tcp_transport.h"
#include "server/observe/log.h"

namespace kdbg::gdb {
namespace {

// One is served; the others are being told so.
constexpr std::size_t kMaximumClients = 16;
constexpr std::chrono::milliseconds kAcceptRetry{100};

absl::Status Closed() {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                   "the session is ending");
}

constexpr uid_t kNobody = static_cast<uid_t>(-1);

Attachment AttachmentOf(const asio::ip::tcp::endpoint& own, const asio::ip::tcp::endpoint& peer) {
  Attachment attachment{
      .client = fmt::format(fmt::runtime(peer.address().is_v6() ? "tcp [{}]:{}" : "tcp {}:{}"),
                            peer.address().to_string(), peer.port()),
      .origin = Attachment::Origin::kElsewhere};
  const auto uid = PeerUid(own, peer);
  if (uid || peer.address().is_loopback() || peer.address() == own.address()) {
    attachment.origin = Attachment::Origin::kThisHost;
    attachment.uid = uid.value_or(kNobody);  // who has closed it already is nobody
  } else {
    attachment.address = peer.address().to_string();
  }
  return attachment;
}

}  // namespace

DoorCore::DoorCore(IoThread& io_thread, std::shared_ptr<StubLink> link, ClientPolicy& policy)
    : io_thread_(io_thread),
      link_(std::move(link)),
      channel_(link_->channel()),
      policy_(&policy),
      acceptor_(io_thread.context()) {}

absl::Status DoorCore::Listen(ReservedPort port) {
  asio::error_code error;
  UniqueFd fd = std::move(port).Release();
  asio::ip::tcp::endpoint address;
  auto size = static_cast<socklen_t>(address.capacity());
  ::getsockname(fd.get(), address.data(), &size);
  const auto protocol =
      address.data()->sa_family == AF_INET6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4();
  acceptor_.assign(protocol, fd.Release(), error);
  if (error) return absl::InternalError(fmt::format("take over a port: {}", error.message()));
  NoticeLoss();
  asio::co_spawn(
      io_thread_.context(), [self = shared_from_this()] { return self->AcceptLoop(); },
      asio::detached);
  return absl::OkStatus();
}

void DoorCore::NoticeLoss() {
  lost_ = channel_->on_lost().Add([weak = weak_from_this()] {
    if (auto self = weak.lock(); self && self->holder_) self->holder_->GuestGone();
  });
}

asio::awaitable<void> DoorCore::AcceptLoop() {
  asio::steady_timer pause(io_thread_.context());
  while (!closed_) {
    asio::error_code error;
    asio::ip::tcp::socket socket(io_thread_.context());
    co_await acceptor_.async_accept(socket, asio::redirect_error(asio::use_awaitable, error));
    if (closed_) break;
    if (!error) {
      Welcome(std::move(socket));
      continue;
    }
    // Out of descriptors, mostly: the connection stays in the queue and would be reported again at
    // once.
    pause.expires_after(kAcceptRetry);
    co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
  }
}

void DoorCore::Welcome(asio::ip::tcp::socket socket) {
  asio::error_code error;
  const auto peer = socket.remote_endpoint(error);
  if (error || clients_.size() >= kMaximumClients) return;
  Attachment attachment = AttachmentOf(socket.local_endpoint(error), peer);
  auto transport = std::make_shared<TcpTransport>(std::move(socket));
  auto client = std::make_shared<Client>(shared_from_this(), std::move(attachment), transport);
  Add(client);
  client->StartPatience();
  transport->Serve(client);
}

void DoorCore::Add(std::shared_ptr<Client> client) { clients_.insert(std::move(client)); }
void DoorCore::Remove(const std::shared_ptr<Client>& client) { clients_.erase(client); }

void DoorCore::Claim(std::shared_ptr<Client> client, Door::IfHeld if_held,
                     std::function<void(absl::Status)> decided) {
  Waiting waiting{std::move(client), if_held, std::move(decided)};
  if (cleaning_) {
    waiting_.push_back(std::move(waiting));
  } else {
    Decide(std::move(waiting));
  }
}

void DoorCore::Decide(Waiting waiting) {
  if (closed_ || clients_.count(waiting.client) == 0) return waiting.decided(Closed());
  if (absl::Status admitted = policy_->Admit(waiting.client->attachment()); !admitted.ok()) {
    return waiting.decided(std::move(admitted));
  }
  if (holder_ && waiting.if_held == Door::IfHeld::kTakeOver) {
    const std::string taker = waiting.client->attachment().client;
    taken_over_ = true;
    waiting_.push_front(std::move(waiting));
    return std::shared_ptr(holder_)->GiveWay(fmt::format("{} has taken over this guest", taker));
  }
  if (holder_) {
    const std::string& holder = holder_->attachment().client;
    return waiting.decided(
        MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHolderBusy,
                  fmt::format("this guest is being debugged by {}; detach there first", holder),
                  {{"holder", holder}}));
  }
  SetHolder(waiting.client);
  traffic().attached_clients.Add(1);
  spdlog::info("gdb: {} attached", waiting.client->attachment().client);
  policy_->Attached(waiting.client->attachment());
  waiting.decided(absl::OkStatus());
}

void DoorCore::AskAgain() {
  if (closed_ || !holder_ || cleaning_) return;
  const absl::Status admitted = policy_->Admit(holder_->attachment());
  // Any other refusal is for those who come.
  if (!absl::IsPermissionDenied(admitted)) return;
  spdlog::info("gdb: {} may not stay", holder_->attachment().client);
  std::shared_ptr(holder_)->GiveWay(std::string(admitted.message()));
}

void DoorCore::SetHolder(std::shared_ptr<Client> client) {
  holder_ = std::move(client);
  std::optional<Attachment> name;
  if (holder_) name = holder_->attachment();
  channel_->SetClient(name ? std::optional(name->client) : std::nullopt);
  absl::MutexLock lock(&mutex_);
  holder_name_ = std::move(name);
}

void DoorCore::Release(const std::shared_ptr<Client>& client, std::function<void()> done) {
  if (holder_ != client || cleaning_) return done();
  cleaning_ = true;
  Clean(*client, [self = shared_from_this(), client, done = std::move(done)] {
    self->cleaning_ = self->taken_over_ = false;
    self->SetHolder(nullptr);
    spdlog::info("gdb: {} detached", client->attachment().client);
    if (self->policy_ != nullptr) self->policy_->Detached(client->attachment());
    done();
    if (auto cleaned = std::exchange(self->cleaned_, nullptr)) cleaned();
    for (auto& waiting : std::exchange(self->waiting_, {}))
      self->Claim(waiting.client, waiting.if_held, waiting.decided);
  });
}

void DoorCore::AnswerMonitor(const std::string& text, std::shared_ptr<StubLink> link) {
  if (closed_) return;
  const bool moved = link != nullptr;
  if (moved) {
    link_ = std::move(link);
    channel_ = link_->channel();
    if (holder_) channel_->SetClient(holder_->attachment().client);
    NoticeLoss();
  }
  if (holder_)
    holder_->MonitorAnswered(text, moved ? Client::Guest::kAnother : Client::Guest::kSame);
}

// `?` drops every breakpoint in the stub, known to us or not; no other packet does that, and it
// takes a halted guest.
void DoorCore::Clean(const Client& client, std::function<void()> done) {
  if (channel_->lost() || (channel_->running() && !client.touched_stub())) return done();
  const bool touched = client.touched_stub();
  const bool physical = client.changed_memory_mode();
  const bool run_on =
      channel_->running() || !(leave_as_it_is_ || taken_over_ || client.keeps_halted());
  channel_->Halt([channel = channel_, touched, physical, run_on,
                  done = std::move(done)](const absl::StatusOr<StopReply>& stop) {
    if (!stop.ok()) return done();
    const auto ignore = [](const absl::StatusOr<std::string>&) {};
    if (touched) {
      channel->Exchange("?", ignore);
      channel->Exchange("Hg0", ignore);
    }
    if (physical) channel->Exchange("Qqemu.PhyMemMode:0", ignore);
    // Answers come in order, so when this one is here the others are, too.
    if (!run_on) return channel->Exchange("qC", [done](const auto&) { done(); });
    channel->Resume(
        "c", [done](const absl::Status&) { done(); }, ignore);
  });
}

void DoorCore::Close(std::function<void()> cleaned) {
  closed_ = true;
  asio::error_code ignored;
  acceptor_.close(ignored);
  lost_.Reset();
  if (holder_) policy_->Detached(holder_->attachment());
  policy_ = nullptr;
  for (const auto& client : std::set(clients_)) client->CutOff();
  for (auto& waiting : std::exchange(waiting_, {})) waiting.decided(Closed());
  cleaned_ = [this, cleaned = std::move(cleaned)] {
    link_.reset();
    cleaned();
  };
  if (!cleaning_) std::exchange(cleaned_, nullptr)();
}

void DoorCore::GiveUp() {
  cleaned_ = nullptr;
  link_.reset();
}

std::optional<Attachment> DoorCore::holder() const {
  absl::MutexLock lock(&mutex_);
  return holder_name_;
}

}  // namespace kdbg::gdb
