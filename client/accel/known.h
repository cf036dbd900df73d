// What the server has told of the guest and what still holds.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "kdbg/v1/session_service.pb.h"

namespace kdbg::client {

class Known {
 public:
  void Take(const v1::GdbServerFrame::Ahead& ahead);
  void Take(const v1::GdbServerFrame::Invalidate& invalidate) { Enter(invalidate.epoch()); }

  // The reply to `packet` as the selected thread's; nullopt: ask.
  std::optional<std::string> Answer(const std::string& packet) const;
  // No longer answered from here until it is told again.
  void Forget(const std::string& packet);

 private:
  using Answers = std::map<std::string, std::string>;

  void Enter(std::int64_t epoch);
  std::optional<std::string> ReadMemory(std::string_view packet) const;

  std::int64_t epoch_ = 0;
  std::uint64_t thread_ = 0;
  Answers lasting_;
  std::map<std::uint64_t, Answers> answers_;                              // by thread
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::string> pages_;  // by thread, address
};

}  // namespace kdbg::client
