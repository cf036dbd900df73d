#include "server/gdb/read_ahead.h"

#include <algorithm>
#include <utility>

#include "server/gdb/ram_check.h"

namespace kdbg::gdb {
namespace {

constexpr std::size_t kFirstPages = 4;
constexpr std::size_t kMostPages = 64;
constexpr std::size_t kBulkBytes = 1024;   // who asks for so much at once reads a buffer
constexpr std::size_t kKnownPages = 4096;  // 16 MiB in one stop
constexpr std::size_t kRemembered = 8;     // misses, sequences, links
constexpr std::uint64_t kReach = 2048;     // from a list's pointer to what is read in its node
constexpr int kHops = 16;                  // nodes that lie on one page cause no miss
constexpr int kNodesAhead = 256;
constexpr std::uint64_t kPointerBytes = 8;

bool Near(std::uint64_t one, std::uint64_t other) { return one - other + kReach <= 2 * kReach; }

}  // namespace

void ReadAhead::Forget() {
  pages_.clear();
  refused_.clear();
  wanted_.clear();
  misses_.clear();
  sequences_.clear();
  links_.clear();
  walk_.reset();
}

void ReadAhead::Missed(std::uint64_t address, std::size_t size) {
  wanted_.clear();
  if (size == 0 || address + (size - 1) < address) return;
  // By their number: the last page there is has none after it.
  const std::uint64_t first = PageOf(address);
  for (std::uint64_t i = 0; i <= (address + size - 1 - first) / kPageBytes; ++i) {
    Want(first + i * kPageBytes);
  }
  PlanSequence(address, size);
  PlanWalk(address);
  misses_.push_back(address);
  if (misses_.size() > kRemembered) misses_.pop_front();
}

// A buffer shows by its large pieces or by a read of the page after the last.
void ReadAhead::PlanSequence(std::uint64_t address, std::size_t size) {
  const std::uint64_t last = PageOf(address + size - 1);
  const auto known = std::find_if(sequences_.begin(), sequences_.end(), [&](const Sequence& one) {
    return one.end == PageOf(address) || one.end == last;
  });
  Sequence sequence{.end = 0, .pages = 1};  // the next page is a good guess anyway
  if (known != sequences_.end()) {
    sequence.pages = std::clamp(known->pages * 4, kFirstPages, kMostPages);
    sequences_.erase(known);
  } else if (size >= kBulkBytes) {
    sequence.pages = kFirstPages;
  }
  const std::uint64_t after = last + kPageBytes;
  sequence.end = after + sequence.pages * kPageBytes;
  for (std::uint64_t page = after; page != sequence.end; page += kPageBytes) Want(page);
  sequences_.push_back(sequence);
  if (sequences_.size() > kRemembered) sequences_.pop_front();
}

void ReadAhead::PlanWalk(std::uint64_t address) {
  if (walk_) {
    const auto at = Near(walk_->at, address) ? walk_->at : Follow(walk_->at, address);
    if (at) {
      walk_->at = *at;
      walk_->nodes = 0;
      return;
    }
  }
  walk_.reset();
  std::vector<std::uint64_t> same_node;
  for (const std::uint64_t link : std::exchange(links_, {})) {
    if (Near(link, address)) {
      same_node.push_back(link);
    } else if (const auto at = Follow(link, address)) {
      links_.push_back(*at);
    }
  }
  if (!links_.empty()) {
    walk_ = Walk{.first = links_.front(), .at = links_.front()};
    return;
  }
  links_ = std::move(same_node);
  for (auto from = misses_.rbegin(); from != misses_.rend() && links_.empty(); ++from) {
    FindLinks(*from, address);
  }
  // The pointer itself may be on the next page.
  for (const std::uint64_t link : links_) Want(PageOf(link));
}

// Pointers near `from` that lead near `address`, to where the next pointer would be.
void ReadAhead::FindLinks(std::uint64_t from, std::uint64_t address) {
  if (Near(from, address)) return;
  const std::uint64_t begin = (from - kReach) & ~(kPointerBytes - 1);
  for (std::uint64_t at = begin; at - begin <= 2 * kReach; at += kPointerBytes) {
    const auto link = Follow(at, address);
    if (link && std::find(links_.begin(), links_.end(), *link) == links_.end()) {
      links_.push_back(*link);
    }
    if (links_.size() == kRemembered) return;
  }
}

// Along the chain from the pointer at `at` to the one near `address`.
std::optional<std::uint64_t> ReadAhead::Follow(std::uint64_t at, std::uint64_t address) const {
  const std::uint64_t first = at;
  for (int hop = 0; hop < kHops; ++hop) {
    const std::optional<std::uint64_t> next = Pointer(at);
    if (!next || *next % kPointerBytes != 0 || *next == at || *next == first) return std::nullopt;
    if (Near(*next, address)) return *next;
    at = *next;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> ReadAhead::Pointer(std::uint64_t address) const {
  const auto page = pages_.find(PageOf(address));
  const std::uint64_t within = address % kPageBytes;
  if (page == pages_.end() || within + kPointerBytes > page->second.size()) return std::nullopt;
  std::uint64_t value = 0;  // little-endian, as all our targets
  for (std::uint64_t i = kPointerBytes; i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(page->second[within + i]);
  }
  return value;
}

std::optional<std::uint64_t> ReadAhead::Next() {
  while (true) {
    while (!wanted_.empty()) {
      const std::uint64_t page = wanted_.front();
      wanted_.pop_front();
      if (!pages_.contains(page) && !refused_.contains(page)) return page;
    }
    if (!walk_ || walk_->nodes >= kNodesAhead || pages_.size() >= kKnownPages) return std::nullopt;
    Step();
  }
}

// To the next node, or first to the page with the pointer to it.
void ReadAhead::Step() {
  const std::uint64_t page = PageOf(walk_->at);
  const std::optional<std::uint64_t> next = Pointer(walk_->at);
  if (!next) {
    if (refused_.contains(page) || pages_.contains(page)) {
      walk_.reset();
    } else {
      Want(page);
    }
    return;
  }
  ++walk_->nodes;
  if (*next % kPointerBytes != 0 || *next == walk_->at || *next == walk_->first) {
    return walk_.reset();
  }
  walk_->at = *next;
  for (const std::uint64_t part : {*next - kReach / 2, *next, *next + kReach / 2}) {
    Want(PageOf(part));
  }
}

void ReadAhead::Want(std::uint64_t page) {
  if (pages_.size() + wanted_.size() < kKnownPages) wanted_.push_back(page);
}

void ReadAhead::Read(std::uint64_t page, std::string bytes) { pages_[page] = std::move(bytes); }
void ReadAhead::Refused(std::uint64_t page) { refused_.insert(page); }

}  // namespace kdbg::gdb
