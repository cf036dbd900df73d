// An archive in newc cpio form, as the kernel unpacks it: entries as they are given, made without
// root, the same bytes each time. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct archive;

namespace kdbg::build {

enum class CpioCompression { kNone, kGzip, kZstd };

std::string_view NameOf(CpioCompression compression);  // "gzip"
// ".gz" and the like; empty for none.
std::string_view SuffixOf(CpioCompression compression);

struct CpioEntry {
  enum class Kind { kDirectory, kFile, kSymlink, kCharacterDevice, kBlockDevice };
  Kind kind = Kind::kFile;
  std::string path;  // relative
  int mode = 0755;
  std::string content = {};  // of a file; the target of a symbolic link
  int device_major = 0;
  int device_minor = 0;
};

class CpioWriter {
 public:
  // The archive goes to `sink` in pieces as it is written.
  using Sink = std::function<absl::Status(std::string_view)>;
  static absl::StatusOr<std::unique_ptr<CpioWriter>> Open(
      Sink sink, CpioCompression compression = CpioCompression::kNone);
  ~CpioWriter();

  // Owned by root, with a time stamp of 0.
  absl::Status Add(const CpioEntry& entry);
  absl::Status Finish();

 private:
  struct Output;
  CpioWriter(std::unique_ptr<Output> output, archive* archive);
  absl::Status Error(std::string_view during) const;

  std::unique_ptr<Output> output_;
  archive* archive_;
  std::int64_t next_inode_ = 1;
};

}  // namespace kdbg::build
