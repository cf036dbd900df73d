// What the gateway asks of whoever knows users and leases; session/ implements it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace kdbg::gdb {

struct Attachment {
  // Who debugs, in words for people: "tcp 127.0.0.1:51234" or "user alice".
  std::string client;
  enum class Origin {
    kAuthenticated,  // through a call that has proved who it is and what it may
    kThisHost,       // a TCP connection of the process with `uid`
    kElsewhere,      // a TCP connection from another host
  } origin = Origin::kAuthenticated;
  uid_t uid = 0;
  std::string address = {};  // of the other host
};

// Called on the I/O thread, one call at a time per Door: answer at once, do not block, do not call
// back into the Door. A lock taken in here must never be held by someone who destroys the Door,
// which waits for that thread.
class ClientPolicy {
 public:
  virtual ~ClientPolicy() = default;

  // Not OK refuses the client; gdb shows the message.
  virtual absl::Status Admit(const Attachment& attachment) = 0;
  // Each Attached is followed by one Detached, also when the Door is destroyed.
  virtual void Attached(const Attachment& attachment) = 0;
  virtual void Detached(const Attachment& attachment) = 0;

  // The answer to gdb's `monitor COMMAND`, printed as it is; nullopt: gdb waits until
  // Door::AnswerMonitor. QEMU's own monitor is a way into the host and never sees it.
  virtual std::optional<std::string> Monitor(std::string_view command) = 0;
};

}  // namespace kdbg::gdb
