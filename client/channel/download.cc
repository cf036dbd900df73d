#include "client/channel/download.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "client/channel/follow.h"
#include "client/channel/frame_decoder.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/mapped_file.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"

namespace kdbg::client {
namespace {

// A file under another name until it is whole; abandoned, it goes away.
class PartialFile {
 public:
  static absl::StatusOr<PartialFile> Create(const std::filesystem::path& destination) {
    PartialFile file;
    file.path_ = fmt::format("{}.part-{}", destination.string(), ::getpid());
    file.fd_.Reset(::open(file.path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!file.fd_) return ErrnoError(errno, "create " + file.path_);
    return file;
  }
  PartialFile(PartialFile&&) = default;
  ~PartialFile() {
    if (fd_) ::unlink(path_.c_str());
  }
  int fd() const { return fd_.get(); }
  absl::Status CommitAs(const std::filesystem::path& destination) {
    if (::rename(path_.c_str(), destination.c_str()) != 0) {
      return ErrnoError(errno, "rename to " + destination.string());
    }
    fd_.Reset();
    return absl::OkStatus();
  }

 private:
  PartialFile() = default;
  std::string path_;
  UniqueFd fd_;
};

// Only when it is what it is said to be: a difference is of the very bytes.
std::optional<MappedFile> MapBase(const BaseFile& base) {
  const UniqueFd fd(::open(base.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  auto mapped = MappedFile::Map(fd.get());
  if (!mapped.ok() || Sha256Hex(mapped->bytes()) != base.sha256) return std::nullopt;
  return *std::move(mapped);
}

}  // namespace

absl::Status CheckRelativePath(const std::string& path) {
  const std::filesystem::path parsed(path);
  bool inside = !path.empty() && parsed.is_relative() && path.find('\0') == path.npos;
  for (const auto& part : parsed) inside = inside && part != ".." && part != ".";
  if (inside) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("the server named a file '{}', which would not stay in its directory", path));
}

std::filesystem::path ReadableInPlace(const Server& server, const v1::ArtifactFile& file) {
  if (!server.on_this_host() || file.server_path().empty()) return {};
  if (::access(file.server_path().c_str(), R_OK) != 0) return {};
  return file.server_path();
}

absl::Status ReadArtifactFile(Server& server, Interrupt& interrupt, const std::string& artifact,
                              const v1::ArtifactFile& file,
                              const std::function<absl::Status(std::string_view)>& consume,
                              const std::optional<BaseFile>& base) {
  v1::ReadArtifactFileRequest request;
  request.set_name(artifact);
  request.set_path(file.path());
  request.set_zstd(!server.on_this_host());
  std::optional<MappedFile> base_bytes;
  if (base && request.zstd()) base_bytes = MapBase(*base);
  if (base_bytes) request.set_base_sha256(base->sha256);
  Sha256 digest;
  absl::Status consumed;
  // Of the stream that runs; each begins a frame of its own.
  std::unique_ptr<FrameDecoder> decoder;
  const auto take = [&](std::string_view bytes) -> absl::Status {
    request.set_offset_bytes(request.offset_bytes() + static_cast<std::int64_t>(bytes.size()));
    if (request.offset_bytes() > file.size_bytes()) {
      return absl::DataLossError(fmt::format("more bytes of {} came than it has", file.path()));
    }
    digest.Update(bytes);
    return consume(bytes);
  };
  KDBG_RETURN_IF_ERROR(Follow<v1::ArtifactFileChunk>(
      server, interrupt,
      [&](grpc::ClientContext* call) {
        decoder.reset();
        return server.stub<v1::ArtifactService>().ReadArtifactFile(call, request);
      },
      [&](const v1::ArtifactFileChunk& chunk) {
        if (chunk.zstd()) {
          decoder = std::make_unique<FrameDecoder>();
          if (!chunk.base_sha256().empty()) consumed = decoder->UseBase(base_bytes->bytes());
        }
        if (consumed.ok()) {
          consumed = decoder != nullptr ? decoder->Decode(chunk.data(), take) : take(chunk.data());
        }
        return consumed.ok() ? Next::kGoOn : Next::kEnough;
      }));
  KDBG_RETURN_IF_ERROR(consumed);
  if (digest.FinishHex() != file.sha256()) {
    return absl::DataLossError(
        fmt::format("{} of {} arrived with other bytes than its digest says: try again, and build "
                    "again if it stays so",
                    file.path(), artifact));
  }
  return absl::OkStatus();
}

absl::Status DownloadFile(Server& server, Interrupt& interrupt, const std::string& artifact,
                          const v1::ArtifactFile& file, const std::filesystem::path& destination,
                          const OnBytes& on_bytes, const std::optional<BaseFile>& base) {
  if (!destination.parent_path().empty()) {
    KDBG_RETURN_IF_ERROR(MakeDirectories(destination.parent_path(), 0755));
  }
  KDBG_ASSIGN_OR_RETURN(PartialFile partial, PartialFile::Create(destination));
  std::int64_t received = 0;
  const auto write = [&](std::string_view bytes) -> absl::Status {
    KDBG_RETURN_IF_ERROR(WriteAll(partial.fd(), bytes));
    received += static_cast<std::int64_t>(bytes.size());
    on_bytes(received);
    return absl::OkStatus();
  };
  KDBG_RETURN_IF_ERROR(ReadArtifactFile(server, interrupt, artifact, file, write, base));
  return partial.CommitAs(destination);
}

}  // namespace kdbg::client
