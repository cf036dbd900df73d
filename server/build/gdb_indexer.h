// Makes gdb's index of each new kernel, after the kernel is published, one at a time and at low
// priority: a thread of its own. What is left over from an earlier run of the daemon comes first.
#pragma once

#include <deque>
#include <filesystem>
#include <stop_token>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/build/build_table.h"
#include "server/build/builds.h"

namespace kdbg::build {

inline constexpr std::string_view kGdbIndexPath = "vmlinux.gdb-index";

class GdbIndexer {
 public:
  // `scratch`: a directory that is this object's alone.
  GdbIndexer(const BuildParts& parts, BuildTable& table, std::filesystem::path scratch);
  // Ends the one that is being made; it is made at the next start.
  ~GdbIndexer();

  // Returns at once.
  void Add(std::string artifact_id);

 private:
  void Work(const std::stop_token& stop);
  absl::Status MakeIndex(const std::string& artifact_id, const std::stop_token& stop);

  const BuildParts& parts_;
  BuildTable& table_;
  const std::filesystem::path scratch_;
  absl::Mutex mutex_;
  std::deque<std::string> waiting_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace kdbg::build
