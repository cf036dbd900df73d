#include "server/gdb/gateway.h"

#include <asio/post.hpp>
#include <utility>

#include "absl/synchronization/notification.h"
#include "proto/support/status_macros.h"
#include "server/gdb/door_core.h"
#include "server/gdb/foresight.h"
#include "server/gdb/io_thread.h"
#include "server/gdb/stream_transport.h"

namespace kdbg::gdb {
namespace {

constexpr absl::Duration kCleaningPatience = absl::Seconds(1);

}  // namespace

ClientStream::ClientStream(IoThread& io_thread, std::shared_ptr<StreamTransport> transport)
    : io_thread_(io_thread), transport_(std::move(transport)) {}

ClientStream::~ClientStream() {
  io_thread_.RunAndWait([this] { transport_->Drop(); });
}

void ClientStream::Send(std::string bytes) {
  asio::post(io_thread_.context(),
             [transport = transport_, bytes = std::move(bytes)] { transport->Receive(bytes); });
}

Door::Door(IoThread& io_thread, std::shared_ptr<DoorCore> core, int port)
    : io_thread_(io_thread), core_(std::move(core)), port_(port) {}

void Door::Close() {
  if (closed_.exchange(true)) return;
  auto cleaned = std::make_shared<absl::Notification>();
  io_thread_.RunAndWait([this, cleaned] { core_->Close([cleaned] { cleaned->Notify(); }); });
  if (io_thread_.IsCurrent() || cleaned->WaitForNotificationWithTimeout(kCleaningPatience)) return;
  io_thread_.RunAndWait([this] { core_->GiveUp(); });
}

void Door::AnswerMonitor(std::string text, std::shared_ptr<StubLink> link) {
  io_thread_.RunAndWait([&] { core_->AnswerMonitor(text, std::move(link)); });
}

void Door::KeepHalted() {
  io_thread_.RunAndWait([this] { core_->KeepHalted(); });
}

void Door::LeaveAsItIs() {
  io_thread_.RunAndWait([this] { core_->LeaveAsItIs(); });
}

void Door::AskAgain() {
  asio::post(io_thread_.context(), [core = core_] { core->AskAgain(); });
}

std::optional<Attachment> Door::holder() const { return core_->holder(); }

absl::StatusOr<std::unique_ptr<ClientStream>> Door::AttachStream(Attachment attachment,
                                                                 StreamEvents events,
                                                                 IfHeld if_held) {
  struct Decision {
    absl::Notification made;
    absl::Status status;
  };
  const bool foresees = events.ahead_to_client != nullptr;
  auto transport = std::make_shared<StreamTransport>(std::move(events));
  auto decision = std::make_shared<Decision>();
  asio::post(
      io_thread_.context(), [core = core_, transport, decision, attachment, foresees, if_held] {
        auto client = std::make_shared<Client>(core, attachment, transport);
        transport->SetClient(client);
        core->Add(client);
        core->Claim(
            client, if_held, [core, client, transport, decision, foresees](absl::Status status) {
              if (status.ok()) {
                client->Admitted();
                if (foresees) {
                  client->Begin(std::make_shared<Foresight>(
                      core->shared_channel(),
                      [transport](Ahead ahead) { transport->SendAhead(std::move(ahead)); }));
                }
              } else {
                core->traffic().refused_clients.Add(1);
                core->Remove(client);
              }
              decision->status = std::move(status);
              decision->made.Notify();
            });
      });
  decision->made.WaitForNotification();
  KDBG_RETURN_IF_ERROR(decision->status);
  return std::unique_ptr<ClientStream>(new ClientStream(io_thread_, std::move(transport)));
}

absl::StatusOr<std::unique_ptr<Door>> Gateway::Open(ReservedPort port,
                                                    std::shared_ptr<StubLink> link,
                                                    ClientPolicy& policy) {
  const int number = port.port();
  auto core = std::make_shared<DoorCore>(io_thread_, std::move(link), policy);
  absl::Status listening;
  io_thread_.RunAndWait([&] { listening = core->Listen(std::move(port)); });
  KDBG_RETURN_IF_ERROR(listening);
  return std::unique_ptr<Door>(new Door(io_thread_, std::move(core), number));
}

}  // namespace kdbg::gdb
