#include "client/accel/known.h"

#include <algorithm>

#include "proto/rsp/hex.h"

namespace kdbg::client {
namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kMostRead = 2048;  // a stub refuses to read more at once
constexpr std::string_view kUnmapped = "E14";
constexpr std::size_t kMostPages = 8192;
constexpr std::size_t kMostAnswers = 8192;

}  // namespace

void Known::Enter(std::int64_t epoch) {
  if (epoch == epoch_) return;
  epoch_ = epoch;
  answers_.clear();
  pages_.clear();
}

void Known::Take(const v1::GdbServerFrame::Ahead& ahead) {
  Enter(ahead.epoch());
  thread_ = ahead.thread();
  if (pages_.size() + static_cast<std::size_t>(ahead.memory_size()) > kMostPages) pages_.clear();
  if (lasting_.size() > kMostAnswers) lasting_.clear();
  if (answers_[thread_].size() > kMostAnswers) answers_.clear();
  for (const auto& answer : ahead.answers()) {
    (answer.lasting() ? lasting_ : answers_[thread_])[answer.packet()] = answer.reply();
  }
  for (const auto& memory : ahead.memory()) {
    const std::size_t size = memory.data().size();
    if (memory.address() % kPageBytes != 0 || (size != kPageBytes && size != 0)) continue;
    pages_[{thread_, memory.address()}] = memory.data();
  }
}

std::optional<std::string> Known::Answer(const std::string& packet) const {
  // Its arguments are what gdb could do; what it may do does not depend on them.
  constexpr std::string_view kSupported = "qSupported";
  const std::string question =
      packet.compare(0, kSupported.size(), kSupported) == 0 ? std::string(kSupported) : packet;
  if (const auto found = lasting_.find(question); found != lasting_.end()) return found->second;
  if (packet.compare(0, 2, "Hg") == 0) {
    const auto id = rsp::ParseHexNumber(std::string_view(packet).substr(2));
    if (id && *id != 0 && *id == thread_) return "OK";  // selected already
    return std::nullopt;
  }
  const auto of_thread = answers_.find(thread_);
  if (of_thread != answers_.end()) {
    const auto found = of_thread->second.find(packet);
    if (found != of_thread->second.end()) return found->second;
  }
  return packet.compare(0, 1, "m") == 0 ? ReadMemory(packet) : std::nullopt;
}

std::optional<std::string> Known::ReadMemory(std::string_view packet) const {
  const std::size_t comma = packet.find(',');
  if (comma == std::string_view::npos) return std::nullopt;
  const auto begin = rsp::ParseHexNumber(packet.substr(1, comma - 1));
  const auto size = rsp::ParseHexNumber(packet.substr(comma + 1));
  if (!begin || !size || *size == 0 || *size > kMostRead || *begin + *size < *begin) {
    return std::nullopt;
  }
  std::string bytes;
  bool unmapped = false;
  for (std::uint64_t done = 0; done < *size;) {
    const std::uint64_t within = (*begin + done) % kPageBytes;
    const auto page = pages_.find({thread_, *begin + done - within});
    if (page == pages_.end()) return std::nullopt;
    unmapped |= page->second.empty();
    const std::uint64_t part = std::min(kPageBytes - within, *size - done);
    if (!unmapped) bytes += page->second.substr(within, part);
    done += part;
  }
  return unmapped ? std::string(kUnmapped) : rsp::HexEncode(bytes);
}

void Known::Forget(const std::string& packet) {
  for (auto& [thread, answers] : answers_) answers.erase(packet);
}

}  // namespace kdbg::client
