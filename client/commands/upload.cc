#include "client/commands/upload.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "client/output/text.h"
#include "proto/support/errno_status.h"
#include "proto/support/sha256.h"

namespace kdbg::client {
namespace {

constexpr std::size_t kChunkBytes = 512 << 10;
// Tries in a row that moved no byte.
constexpr int kFruitlessTries = 4;

absl::StatusOr<std::string> ReadChunk(const LocalFile& file, std::int64_t offset) {
  std::string chunk(kChunkBytes, '\0');
  ssize_t n;
  do {
    n = ::pread(file.fd.get(), chunk.data(), chunk.size(), offset);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoError(errno, "read " + file.path.string());
  chunk.resize(static_cast<std::size_t>(n));
  return chunk;
}

std::string Amount(std::int64_t done, std::int64_t size) {
  return fmt::format("{} {} of {}", Bar(done, size), Bytes(done), Bytes(size));
}

absl::StatusOr<v1::Upload> Announce(Context& context, const LocalFile& file) {
  v1::CreateUploadRequest request;
  request.set_sha256(file.sha256);
  request.set_size_bytes(file.size_bytes);
  return context.Call<v1::SourceService>(&v1::SourceService::Stub::CreateUpload, request);
}

// One stream, from where the upload stands.
absl::StatusOr<v1::Upload> SendRest(Context& context, const LocalFile& file,
                                    const v1::Upload& upload, Progress& progress) {
  KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
  grpc::ClientContext call;
  Interrupt::Scope scope(context.interrupt(), [&call] { call.TryCancel(); });
  v1::Upload result;
  auto writer = server->stub<v1::SourceService>().WriteUpload(&call, &result);
  v1::WriteUploadRequest message;
  message.set_name(upload.name());
  message.set_offset_bytes(upload.received_bytes());
  for (std::int64_t offset = upload.received_bytes(); offset < file.size_bytes;) {
    KDBG_ASSIGN_OR_RETURN(*message.mutable_data(), ReadChunk(file, offset));
    if (message.data().empty()) {
      call.TryCancel();
      writer->Finish();
      return absl::AbortedError(
          fmt::format("{} became shorter while it was sent: try again", file.path.string()));
    }
    offset += static_cast<std::int64_t>(message.data().size());
    if (!writer->Write(message)) break;
    message.Clear();
    progress.Update("uploading", Amount(offset, file.size_bytes));
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  if (scope.fired()) return InterruptedError();
  if (!status.ok()) return server->Translate(status);
  return result;
}

bool WorthAnotherTry(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsOutOfRange(status) || absl::IsDataLoss(status);
}

}  // namespace

absl::StatusOr<LocalFile> OpenAndHash(const std::filesystem::path& path, Progress& progress) {
  LocalFile file{
      .path = path, .fd = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), .sha256 = {}};
  if (!file.fd) return ErrnoError(errno, path.string());
  struct stat status = {};
  if (::fstat(file.fd.get(), &status) != 0) return ErrnoError(errno, path.string());
  if (!S_ISREG(status.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("{}: is no regular file", path.string()));
  }
  if (status.st_size == 0) {
    return absl::FailedPreconditionError(fmt::format("{}: is empty, so no archive", path.string()));
  }
  file.size_bytes = status.st_size;
  Sha256 digest;
  for (std::int64_t offset = 0; offset < file.size_bytes;) {
    KDBG_ASSIGN_OR_RETURN(const std::string chunk, ReadChunk(file, offset));
    if (chunk.empty()) break;
    digest.Update(chunk);
    offset += static_cast<std::int64_t>(chunk.size());
    progress.Update("hashing", Amount(offset, file.size_bytes));
  }
  file.sha256 = digest.FinishHex();
  return file;
}

absl::StatusOr<v1::Upload> UploadFile(Context& context, const LocalFile& file, Progress& progress) {
  std::int64_t furthest = -1;
  for (int fruitless = 0;;) {
    auto upload = Announce(context, file);
    if (upload.ok() && upload->complete()) return upload;
    fruitless = upload.ok() && upload->received_bytes() > furthest ? 1 : fruitless + 1;
    if (upload.ok()) {
      furthest = upload->received_bytes();
      if (furthest > 0) {
        progress.Update("resuming", Amount(furthest, file.size_bytes));
      }
      upload = SendRest(context, file, *upload, progress);
      if (upload.ok() && upload->complete()) return upload;
    }
    if (!upload.ok() && !WorthAnotherTry(upload.status())) return upload.status();
    if (fruitless >= kFruitlessTries) {
      if (!upload.ok()) return upload.status();
      return absl::UnavailableError("the server does not take the upload: try again later");
    }
    if (absl::IsUnavailable(upload.status())) {
      KDBG_ASSIGN_OR_RETURN(Server * server, context.server());
      progress.Update("reconnecting", "");
      server->Reconnect(kReconnectPatience);
    }
  }
}

}  // namespace kdbg::client
