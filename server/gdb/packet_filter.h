// What a client's packet is allowed to mean. Pure.
//
// An allow-list: QEMU's stub also takes packets that run its monitor, end the virtual machine or
// will be invented later, and a stub that is sent only what is listed here cannot be asked for
// them.
#pragma once

#include <string_view>

namespace kdbg::gdb {

enum class Verdict {
  kForward,        // to the stub, whose answer goes to the client
  kResume,         // to the stub; the answer is the next stop
  kFeatures,       // qSupported: the gateway answers with what it lets through
  kStopAcks,       // QStartNoAckMode: between client and gateway only
  kMonitor,        // `monitor`: the session's policy answers
  kDetach,         // the client goes, the guest runs on
  kKill,           // the same, in other words
  kKillWithReply,  // the same; vKill wants an answer
  kRefuse,         // answered with the empty packet: not supported
};

Verdict JudgePacket(std::string_view payload);

}  // namespace kdbg::gdb
