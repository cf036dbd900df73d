#include "server/build/cpio_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <functional>
#include <utility>

namespace kdbg::build {

struct CpioWriter::Output {
  Sink sink;
  absl::Status status;
};

namespace {

int AddFilter(archive* archive, CpioCompression compression) {
  switch (compression) {
    case CpioCompression::kNone:
      break;
    case CpioCompression::kGzip:
      // Without the time it was made at: the same bytes each time.
      if (archive_write_add_filter_gzip(archive) != ARCHIVE_OK) return ARCHIVE_FATAL;
      return archive_write_set_filter_option(archive, "gzip", "timestamp", nullptr);
    case CpioCompression::kZstd:
      if (archive_write_add_filter_zstd(archive) != ARCHIVE_OK) return ARCHIVE_FATAL;
      return archive_write_set_filter_option(archive, "zstd", "compression-level", "9");
  }
  return archive_write_add_filter_none(archive);
}

}  // namespace

std::string_view NameOf(CpioCompression compression) {
  switch (compression) {
    case CpioCompression::kNone:
      break;
    case CpioCompression::kGzip:
      return "gzip";
    case CpioCompression::kZstd:
      return "zstd";
  }
  return "none";
}

std::string_view SuffixOf(CpioCompression compression) {
  switch (compression) {
    case CpioCompression::kNone:
      break;
    case CpioCompression::kGzip:
      return ".gz";
    case CpioCompression::kZstd:
      return ".zst";
  }
  return "";
}

absl::StatusOr<std::unique_ptr<CpioWriter>> CpioWriter::Open(Sink sink,
                                                             CpioCompression compression) {
  auto output = std::make_unique<Output>();
  output->sink = std::move(sink);
  archive* archive = archive_write_new();
  const auto write = [](struct archive*, void* client, const void* data,
                        std::size_t size) -> la_ssize_t {
    auto* to = static_cast<Output*>(client);
    to->status = to->sink(std::string_view(static_cast<const char*>(data), size));
    return to->status.ok() ? static_cast<la_ssize_t>(size) : -1;
  };
  Output* const client = output.get();
  std::unique_ptr<CpioWriter> writer(new CpioWriter(std::move(output), archive));
  if (archive == nullptr || archive_write_set_format_cpio_newc(archive) != ARCHIVE_OK ||
      AddFilter(archive, compression) != ARCHIVE_OK ||
      // No zeros behind the end of what is packed.
      archive_write_set_bytes_in_last_block(archive, 1) != ARCHIVE_OK ||
      archive_write_open(archive, client, nullptr, write, nullptr) != ARCHIVE_OK) {
    return writer->Error("start");
  }
  return writer;
}

CpioWriter::CpioWriter(std::unique_ptr<Output> output, archive* archive)
    : output_(std::move(output)), archive_(archive) {}

CpioWriter::~CpioWriter() {
  if (archive_ != nullptr) archive_write_free(archive_);
}

absl::Status CpioWriter::Add(const CpioEntry& entry) {
  using Kind = CpioEntry::Kind;
  const std::unique_ptr<archive_entry, void (*)(archive_entry*)> header(archive_entry_new(),
                                                                        archive_entry_free);
  archive_entry_set_pathname(header.get(), entry.path.c_str());
  archive_entry_set_perm(header.get(), static_cast<mode_t>(entry.mode));
  archive_entry_set_uid(header.get(), 0);
  archive_entry_set_gid(header.get(), 0);
  archive_entry_set_mtime(header.get(), 0, 0);
  archive_entry_set_ino64(header.get(), next_inode_++);
  archive_entry_set_nlink(header.get(), entry.kind == Kind::kDirectory ? 2 : 1);
  archive_entry_set_size(header.get(), 0);
  switch (entry.kind) {
    case Kind::kDirectory:
      archive_entry_set_filetype(header.get(), AE_IFDIR);
      break;
    case Kind::kFile:
      archive_entry_set_filetype(header.get(), AE_IFREG);
      archive_entry_set_size(header.get(), static_cast<la_int64_t>(entry.content.size()));
      break;
    case Kind::kSymlink:
      archive_entry_set_filetype(header.get(), AE_IFLNK);
      archive_entry_set_symlink(header.get(), entry.content.c_str());
      break;
    case Kind::kCharacterDevice:
    case Kind::kBlockDevice:
      archive_entry_set_filetype(header.get(),
                                 entry.kind == Kind::kBlockDevice ? AE_IFBLK : AE_IFCHR);
      archive_entry_set_rdevmajor(header.get(), static_cast<dev_t>(entry.device_major));
      archive_entry_set_rdevminor(header.get(), static_cast<dev_t>(entry.device_minor));
      break;
  }
  if (archive_write_header(archive_, header.get()) != ARCHIVE_OK) return Error(entry.path);
  if (entry.kind == Kind::kFile && !entry.content.empty() &&
      archive_write_data(archive_, entry.content.data(), entry.content.size()) !=
          static_cast<la_ssize_t>(entry.content.size())) {
    return Error(entry.path);
  }
  return absl::OkStatus();
}

absl::Status CpioWriter::Finish() {
  if (archive_write_close(archive_) != ARCHIVE_OK) return Error("end");
  return absl::OkStatus();
}

absl::Status CpioWriter::Error(std::string_view during) const {
  if (!output_->status.ok()) return output_->status;
  const char* text = archive_ == nullptr ? nullptr : archive_error_string(archive_);
  return absl::InternalError(
      fmt::format("cannot pack {}: {}", during, text == nullptr ? "out of memory" : text));
}

}  // namespace kdbg::build
