// A whole file as memory, read-only. What changes the file meanwhile changes the memory; a file
// that is cut short makes reading it a SIGBUS, so only files nobody writes to are for this.
#pragma once

#include <cstddef>
#include <string_view>

#include "absl/status/statusor.h"

namespace kdbg {

class MappedFile {
 public:
  // Of an open regular file, which may be closed afterwards.
  static absl::StatusOr<MappedFile> Map(int fd);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

 private:
  MappedFile(void* data, std::size_t size) : data_(data), size_(size) {}
  void* data_;  // nullptr: an empty file
  std::size_t size_;
};

}  // namespace kdbg
