// Where gdb meets a guest. A Door is one guest's entrance: a TCP port and in-process streams, one
// client at a time.
//
// Thread-safe. What a client may count on:
//  - it finds the guest halted; `continue`, Ctrl-C, breakpoints and memory work as with QEMU's own
//  stub, microseconds
//    later; `monitor` is answered by the ClientPolicy
//  - detach, kill, or vanishing in the middle of a packet all end the same way: no breakpoint is
//  left, the guest runs on
//  - a second client is told who holds the guest, and turned away
// Only whole, checksum-valid packets on an allow-list (packet_filter.h) ever reach the stub.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/gdb/ahead.h"
#include "server/gdb/client_policy.h"
#include "server/gdb/reserved_port.h"
#include "server/gdb/stub_link.h"

namespace kdbg::gdb {

class DoorCore;
class IoThread;
class StreamTransport;

// A client that speaks through the daemon instead of TCP. Destroying it is the client's vanishing.
class ClientStream {
 public:
  ~ClientStream();
  ClientStream(const ClientStream&) = delete;
  ClientStream& operator=(const ClientStream&) = delete;

  // Bytes from the client; any cut. Returns at once; bytes after the end are dropped.
  void Send(std::string bytes);

 private:
  friend class Door;
  ClientStream(IoThread& io_thread, std::shared_ptr<StreamTransport> transport);

  IoThread& io_thread_;
  std::shared_ptr<StreamTransport> transport_;
};

class Door {
 public:
  ~Door() { Close(); }
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  // Ends the client (its breakpoints go, the guest runs on), closes the port and waits for that, at
  // most a second; the policy is not asked any more. Idempotent. Not for the I/O thread.
  void Close();

  // What a client that waits for its policy's answer to `monitor` hears. With `link`, the guest
  // behind the Door is another from now on: the client finds it halted, with its breakpoints and
  // its thread as it had them, and has to forget what it read before. Nothing but the link changes
  // when no client waits.
  void AnswerMonitor(std::string text, std::shared_ptr<StubLink> link = nullptr);

  // The client that is attached now leaves the guest halted if it was, however it ends.
  void KeepHalted();
  // From now on every client does: for a daemon that comes back.
  void LeaveAsItIs();

  // Who may attach has changed: the client that holds the guest goes, told why, unless the policy
  // would admit it still. Returns before that.
  void AskAgain();

  int port() const { return port_; }
  std::optional<Attachment> holder() const;

  struct StreamEvents {
    // All on the I/O thread, `closed` once and last: note it and return. Not called after
    // ~ClientStream.
    std::function<void(std::string bytes)> to_client;
    std::function<void()> closed;
    // When set, the guest is halted at once, nothing is acknowledged, and the client is told what
    // it has not asked yet, in order with the bytes.
    std::function<void(Ahead)> ahead_to_client = nullptr;
  };
  enum class IfHeld { kRefuse, kTakeOver };
  // kTakeOver tells the client that holds the guest who takes it, ends it, and leaves the guest
  // halted if it was.
  //   FAILED_PRECONDITION  kHolderBusy, metadata holder: another client is attached
  //   or what the policy's Admit says
  absl::StatusOr<std::unique_ptr<ClientStream>> AttachStream(Attachment attachment,
                                                             StreamEvents events,
                                                             IfHeld if_held = IfHeld::kRefuse);

 private:
  friend class Gateway;
  Door(IoThread& io_thread, std::shared_ptr<DoorCore> core, int port);

  IoThread& io_thread_;
  const std::shared_ptr<DoorCore> core_;
  const int port_;
  std::atomic<bool> closed_ = false;
};

class Gateway {
 public:
  explicit Gateway(IoThread& io_thread) : io_thread_(io_thread) {}

  // From here on clients are served. `policy` outlives the Door, or its Close.
  absl::StatusOr<std::unique_ptr<Door>> Open(ReservedPort port, std::shared_ptr<StubLink> link,
                                             ClientPolicy& policy);

  IoThread& io_thread() { return io_thread_; }

 private:
  IoThread& io_thread_;
};

}  // namespace kdbg::gdb
