// The part of a Door that lives on the I/O thread: who is inside, who waits, and that the guest is
// clean in between.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/base/subscribers.h"
#include "server/gdb/client.h"
#include "server/gdb/client_policy.h"
#include "server/gdb/gateway.h"
#include "server/gdb/io_thread.h"
#include "server/gdb/reserved_port.h"
#include "server/gdb/stub_channel.h"

namespace kdbg::gdb {

class DoorCore : public std::enable_shared_from_this<DoorCore> {
 public:
  DoorCore(IoThread& io_thread, std::shared_ptr<StubLink> link, ClientPolicy& policy);

  // On the I/O thread.
  absl::Status Listen(ReservedPort port);
  // Ends everybody; `cleaned` when the guest is as a client would leave it. The policy is not
  // called after this returns.
  void Close(std::function<void()> cleaned);
  // Close has waited long enough for a stub that does not answer; `cleaned` is not called.
  void GiveUp();
  // See Door.
  void AskAgain();
  void AnswerMonitor(const std::string& text, std::shared_ptr<StubLink> link);
  void KeepHalted() {
    if (holder_) holder_->KeepHalted();
  }
  void LeaveAsItIs() { leave_as_it_is_ = true; }

  void Add(std::shared_ptr<Client> client);
  void Remove(const std::shared_ptr<Client>& client);
  // Lets `client` in or says why not; later, if the client before it is being cleaned up after.
  void Claim(std::shared_ptr<Client> client, Door::IfHeld if_held,
             std::function<void(absl::Status)> decided);
  // Takes away what `client` left in the stub, lets the guest run, frees the place, then calls
  // `done`.
  void Release(const std::shared_ptr<Client>& client, std::function<void()> done);

  StubChannel& channel() { return *channel_; }
  const std::shared_ptr<StubChannel>& shared_channel() const { return channel_; }
  ClientPolicy* policy() { return policy_; }  // null once closed
  IoThread& io_thread() { return io_thread_; }
  Traffic& traffic() { return io_thread_.traffic(); }

  // From any thread.
  std::optional<Attachment> holder() const;

 private:
  struct Waiting {
    std::shared_ptr<Client> client;
    Door::IfHeld if_held;
    std::function<void(absl::Status)> decided;
  };

  asio::awaitable<void> AcceptLoop();
  void Welcome(asio::ip::tcp::socket socket);
  void Decide(Waiting waiting);
  void Clean(const Client& client, std::function<void()> done);
  void SetHolder(std::shared_ptr<Client> client);
  void NoticeLoss();

  IoThread& io_thread_;
  std::shared_ptr<StubLink> link_;  // keeps the channel open until Close is done
  std::shared_ptr<StubChannel> channel_;
  ClientPolicy* policy_;
  asio::ip::tcp::acceptor acceptor_;
  std::set<std::shared_ptr<Client>> clients_;
  std::shared_ptr<Client> holder_;
  bool cleaning_ = false;
  bool closed_ = false;
  bool leave_as_it_is_ = false;
  bool taken_over_ = false;  // the next client waits for the place of this one
  std::deque<Waiting> waiting_;
  std::function<void()> cleaned_;  // Close waits for it
  Subscription lost_;

  mutable absl::Mutex mutex_;
  std::optional<Attachment> holder_name_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::gdb
