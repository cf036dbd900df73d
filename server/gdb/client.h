// One gdb client at a Door: its bytes in, answers out, whatever carries them. For the I/O thread.
//
// Life: arrives with its first whole packet (a port scanner never gets so far, and disturbs
// nobody), asks the Door for the guest, finds it halted, is relayed, and leaves: by detach or kill,
// or by vanishing. A client that is not let in has every packet answered with the reason, which gdb
// prints.
#pragma once

#include <asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/rsp/packet.h"
#include "server/gdb/client_policy.h"
#include "server/gdb/packet_filter.h"
#include "server/gdb/range_step.h"
#include "server/gdb/stop_reply.h"
#include "server/gdb/stub_channel.h"
#include "server/gdb/transport.h"

namespace kdbg::gdb {

class DoorCore;
class Foresight;

class Client : public std::enable_shared_from_this<Client> {
 public:
  Client(std::shared_ptr<DoorCore> door, Attachment attachment,
         std::shared_ptr<Transport> transport);

  // For one that is let in already and keeps what it is told ahead: no acknowledgements, and the
  // guest is halted now.
  void Begin(std::shared_ptr<Foresight> foresight);
  // Gives up a client that connects and says nothing.
  void StartPatience();
  void Receive(std::string_view bytes);
  // The other end has gone, at any time.
  void Vanish();
  // The Door closes, or the client misbehaves.
  void CutOff();
  // It may not stay: it is told, and then as if it had detached.
  void GiveWay(std::string_view why);
  // QEMU is gone: what was to be said has been.
  void GuestGone();
  enum class Guest { kSame, kAnother };
  // The policy's late answer to `monitor`. At another guest, which may run, the client goes on as
  // it was at the one before.
  void MonitorAnswered(const std::string& text, Guest guest);
  // The Door's word on a client that was let in before its first packet.
  void Admitted();

  // See Door.
  void KeepHalted() { keeps_halted_ = true; }

  const Attachment& attachment() const { return attachment_; }
  bool keeps_halted() const { return keeps_halted_; }
  // Whether it may have left something in the stub.
  bool touched_stub() const { return touched_stub_; }
  bool changed_memory_mode() const { return changed_memory_mode_; }

 private:
  enum class Phase { kArriving, kAttached, kTurnedAway, kLeaving, kGone };

  void Process();
  void Handle(const rsp::Event& event);
  void HandlePacket(const std::string& payload);
  void Arrive(const std::string& first_packet);
  void TakeOver(const std::string& first_packet);
  void TurnAway(const absl::Status& why);
  void Dispatch(const std::string& payload);
  void Forward(const std::string& payload);
  void Run(const std::string& payload);
  void Resume(const std::string& packet);
  void Halted(const absl::StatusOr<std::string>& end);
  void StepOnOrStop(const std::string& stop);
  void TellStop(std::string packet);
  void Exchange(const std::string& payload, StubChannel::ReplyHandler answered);
  void Note(const std::string& payload);
  void NoteBreakpoint(std::string_view payload);
  bool HasBreakpointAt(std::uint64_t address) const;
  void AnswerMonitor(std::string_view hex_command);
  void Restore(std::string text);
  void Repeat(std::vector<std::string> packets, std::string text);
  void EndMonitor(std::string_view text);
  std::string Features() const;
  void Leave(std::string_view farewell);
  void Reply(std::string_view payload);
  void Send(std::string bytes);
  void Refuse();
  void Acknowledge(char byte);
  void End();

  const std::shared_ptr<DoorCore> door_;
  const Attachment attachment_;
  std::shared_ptr<Transport> transport_;
  asio::steady_timer patience_;
  rsp::PacketParser parser_;
  std::string backlog_;  // received while a request was under way
  bool processing_ = false;
  bool busy_ = false;  // a request is under way
  bool waits_for_stop_ = false;
  bool interrupted_ = false;                                     // it no longer wants to wait
  std::optional<RangeStep> range_;                               // it waits for the end of this
  std::set<std::pair<std::uint64_t, std::string>> breakpoints_;  // address, then kind and size
  std::map<std::string, std::string> selected_;  // last of Hg, Hc, Qq, by these two letters
  bool waits_for_monitor_ = false;               // for its policy's answer
  std::shared_ptr<Foresight> foresight_;         // null: it asks for everything
  bool acks_ = true;
  bool touched_stub_ = false;
  bool keeps_halted_ = false;
  bool changed_memory_mode_ = false;
  Phase phase_ = Phase::kArriving;
  bool admitted_ = false;  // holds the door, first packet still to come
  std::string refusal_;
  int refusals_ = 0;
  std::string last_frame_;  // for a NAK
};

}  // namespace kdbg::gdb
