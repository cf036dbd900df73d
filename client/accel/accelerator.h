// Between a gdb here and a gateway far away: answers what the server has told ahead, asks for the
// rest. It decides nothing about what is true: it keeps what it is told (GdbServerFrame.Ahead), for
// as long as it is told, and changes nothing that gdb would see. Only round trips are missing.
//
// Sans I/O: bytes and frames in, bytes out. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <string_view>

#include "client/accel/known.h"
#include "kdbg/v1/session_service.pb.h"
#include "proto/rsp/packet.h"

namespace kdbg::client {

class Accelerator {
 public:
  // What has to be sent now; each may be empty.
  struct Output {
    std::string to_gdb;
    std::string to_server;
  };
  Output FromGdb(std::string_view bytes);
  Output FromServer(const v1::GdbServerFrame& frame);

  struct Counters {
    std::uint64_t packets = 0;      // whole ones from gdb
    std::uint64_t round_trips = 0;  // of them, those that waited for the server
  };
  const Counters& counters() const { return counters_; }

 private:
  // What the server has still to answer. While it runs the guest it takes nothing but an interrupt
  // and a farewell, so those are not held back.
  enum class Awaited { kAnswer, kNothing, kStop };  // kNothing: the answer is not gdb's

  void Drain(Output& output);
  void Handle(rsp::Event event, Output& output);
  void HandlePacket(const std::string& packet, Output& output);
  bool AnswerHere(const std::string& packet, Output& output);
  bool AnswerBreakpoint(const std::string& packet, Output& output);
  void Forward(const std::string& packet, Output& output);
  void SendRemovals(Output& output);
  void HandleAnswer(const std::string& packet, Output& output);
  void Reply(std::string_view packet, Output& output);
  void Acknowledge(char byte, Output& output) const;

  rsp::PacketParser gdb_parser_{64 << 10};
  rsp::PacketParser server_parser_{64 << 10};
  Known known_;
  std::deque<Awaited> awaited_;
  std::deque<rsp::Event> held_;  // from gdb, while an answer is awaited
  std::set<std::string>
      removed_;  // breakpoints whose removal the server has not heard of: "0,addr,kind"
  bool acks_ = true;
  std::string last_frame_;  // for a NAK
  Counters counters_;
};

}  // namespace kdbg::client
