#include "tests/support/tarball.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace kdbg {
namespace {

void Write(archive* archive, std::string_view path, unsigned type, int mode,
           std::string_view content, std::string_view symlink, std::string_view hardlink) {
  archive_entry* entry = archive_entry_new();
  archive_entry_set_pathname(entry, std::string(path).c_str());
  archive_entry_set_filetype(entry, type);
  archive_entry_set_perm(entry, static_cast<mode_t>(mode));
  archive_entry_set_size(entry, static_cast<la_int64_t>(content.size()));
  if (!symlink.empty()) archive_entry_set_symlink(entry, std::string(symlink).c_str());
  if (!hardlink.empty()) archive_entry_set_hardlink(entry, std::string(hardlink).c_str());
  if (archive_write_header(archive, entry) < ARCHIVE_WARN ||
      archive_write_data(archive, content.data(), content.size()) < 0) {
    std::fprintf(stderr, "tarball: %s\n", archive_error_string(archive));
    std::abort();
  }
  archive_entry_free(entry);
}

std::string Makefile(std::string_view version) {
  std::array<int, 3> numbers{};
  std::sscanf(std::string(version).c_str(), "%d.%d.%d", &numbers[0], &numbers[1], &numbers[2]);
  return fmt::format(
      "# SPDX-License-Identifier: GPL-2.0\nVERSION = {}\nPATCHLEVEL = {}\nSUBLEVEL = {}\n"
      "EXTRAVERSION =\nNAME = Curry Ramen\n",
      numbers[0], numbers[1], numbers[2]);
}

}  // namespace

struct Tarball::Buffer {
  std::string bytes;
  static la_ssize_t Append(archive*, void* self, const void* data, std::size_t size) {
    static_cast<Buffer*>(self)->bytes.append(static_cast<const char*>(data), size);
    return static_cast<la_ssize_t>(size);
  }
};

Tarball::Tarball(Compression compression)
    : buffer_(std::make_unique<Buffer>()), archive_(archive_write_new()) {
  archive_write_set_format_pax_restricted(archive_);
  switch (compression) {
    case Compression::kNone:
      break;
    case Compression::kGzip:
      archive_write_add_filter_gzip(archive_);
      break;
    case Compression::kBzip2:
      archive_write_add_filter_bzip2(archive_);
      break;
    case Compression::kXz:
      archive_write_add_filter_xz(archive_);
      archive_write_set_filter_option(archive_, "xz", "compression-level", "0");
      break;
    case Compression::kZstd:
      archive_write_add_filter_zstd(archive_);
      break;
  }
  // Whole blocks are for tapes: zeros behind a compressed stream are none of it.
  archive_write_set_bytes_in_last_block(archive_, 1);
  archive_write_open(archive_, buffer_.get(), nullptr, &Buffer::Append, nullptr);
}

Tarball::~Tarball() { archive_write_free(archive_); }

Tarball& Tarball::File(std::string_view path, std::string_view content, int mode) {
  Write(archive_, path, AE_IFREG, mode, content, "", "");
  return *this;
}
Tarball& Tarball::Folder(std::string_view path) {
  Write(archive_, path, AE_IFDIR, 0755, "", "", "");
  return *this;
}
Tarball& Tarball::Symlink(std::string_view path, std::string_view target) {
  Write(archive_, path, AE_IFLNK, 0777, "", target, "");
  return *this;
}
Tarball& Tarball::Hardlink(std::string_view path, std::string_view target) {
  Write(archive_, path, AE_IFREG, 0644, "", "", target);
  return *this;
}
Tarball& Tarball::Fifo(std::string_view path) {
  Write(archive_, path, AE_IFIFO, 0644, "", "", "");
  return *this;
}
Tarball& Tarball::Device(std::string_view path) {
  Write(archive_, path, AE_IFCHR, 0644, "", "", "");
  return *this;
}

std::string Tarball::Bytes() {
  archive_write_close(archive_);
  return buffer_->bytes;
}

std::string SmallLinuxTarball(std::string_view version, Compression compression) {
  Tarball tarball(compression);
  tarball.Folder("linux/")
      .File("linux/.gitignore", "*\n")
      .File("linux/Makefile", Makefile(version))
      .File("linux/Kconfig", "mainmenu \"Linux\"\n")
      .Folder("linux/init/")
      .File("linux/init/main.c", "void start_kernel(void) {}\n")
      .File("linux/kernel/fork.c", "int fork;\n")
      .File("linux/scripts/run.sh", "#!/bin/sh\n", 0755)
      .Symlink("linux/scripts/include", "../init");
  return tarball.Bytes();
}

std::string SmallBusyboxTarball(std::string_view version, Compression compression) {
  Tarball tarball(compression);
  tarball.File("busybox/Makefile", Makefile(version))
      .File("busybox/Config.in", "mainmenu \"BusyBox\"\n")
      .File("busybox/include/applets.src.h", "/* applets */\n")
      .File("busybox/init/init.c", "int init_main(void);\n");
  return tarball.Bytes();
}

}  // namespace kdbg
