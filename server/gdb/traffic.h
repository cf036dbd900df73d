// What has passed through the gateway since the daemon started: for whoever watches it.
//
// The I/O thread alone adds; any thread may read.
#pragma once

#include <atomic>
#include <cstdint>

namespace kdbg::gdb {

// Relaxed: relaying a packet costs no fence.
class Count {
 public:
  void Add(std::uint64_t more) { value_.fetch_add(more, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_ = 0;
};

struct Flow {
  Count bytes;
  Count packets;  // whole and well formed
};

struct Traffic {
  Flow from_clients;
  Flow to_clients;
  Flow to_stubs;  // each packet is a round trip to QEMU
  Flow from_stubs;
  Count malformed_packets;  // bad checksum, truncated, oversized: none went further
  Count refused_packets;    // not on the allow-list
  Count attached_clients;
  Count refused_clients;
};

}  // namespace kdbg::gdb
