// Makes tarballs in memory, good ones and bad ones.
#pragma once

#include <memory>
#include <string>
#include <string_view>

struct archive;

namespace kdbg {

enum class Compression { kNone, kGzip, kBzip2, kXz, kZstd };

class Tarball {
 public:
  explicit Tarball(Compression compression = Compression::kNone);
  ~Tarball();

  Tarball& File(std::string_view path, std::string_view content, int mode = 0644);
  Tarball& Folder(std::string_view path);
  Tarball& Symlink(std::string_view path, std::string_view target);
  Tarball& Hardlink(std::string_view path, std::string_view target);
  Tarball& Fifo(std::string_view path);
  Tarball& Device(std::string_view path);

  // The whole; nothing can be added afterwards.
  std::string Bytes();

 private:
  struct Buffer;
  std::unique_ptr<Buffer> buffer_;
  archive* archive_;
};

// A tree that is taken for Linux, or BusyBox, of this version (three numbers), below one top
// folder.
std::string SmallLinuxTarball(std::string_view version, Compression compression = Compression::kXz);
std::string SmallBusyboxTarball(std::string_view version,
                                Compression compression = Compression::kBzip2);

}  // namespace kdbg
