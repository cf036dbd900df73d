#include "server/source/fast_import.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::source {
namespace {

constexpr int kPipeBytes = 1 << 20;
constexpr std::size_t kBufferBytes = std::size_t{256} << 10;

// As git-fast-import(1) wants a path: in quotes, C-style.
std::string Quoted(std::string_view path) {
  std::string quoted = "\"";
  for (const char c : path) {
    switch (c) {
      case '"':
      case '\\':
        quoted += '\\';
        quoted += c;
        break;
      case '\n':
        quoted += "\\n";
        break;
      default:
        quoted += c;
    }
  }
  return quoted + '"';
}

}  // namespace

FastImport::FastImport(Subprocess process, UniqueFd input, UniqueFd error)
    : process_(std::move(process)), input_(std::move(input)), error_(std::move(error)) {}

absl::StatusOr<FastImport> FastImport::Start(const Git& git, const std::string& ref) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
  UniqueFd child_input(ends[0]);
  UniqueFd input(ends[1]);
  ::fcntl(input.get(), F_SETPIPE_SZ, kPipeBytes);  // fewer switches; the default does as well
  UniqueFd error(::memfd_create("fast-import-error", MFD_CLOEXEC));
  if (!error) return ErrnoError(errno, "memfd_create");
  // Deltas and compression would cost more than the whole rest of the import. Without --done, an
  // input that breaks off would pass for a short one.
  Subprocess::Options options =
      git.Command({"-c", "core.compression=0", "-c", "fastimport.unpackLimit=0", "fast-import",
                   "--quiet", "--done", "--force", "--depth=0", "--date-format=raw"});
  options.descriptors = {{0, child_input.get()}, {2, error.get()}};
  KDBG_ASSIGN_OR_RETURN(Subprocess process, Subprocess::Start(options));
  child_input.Reset();
  FastImport import(std::move(process), std::move(input), std::move(error));
  KDBG_RETURN_IF_ERROR(
      import.Write(fmt::format("commit {}\ncommitter kdbgd <kdbgd> 0 +0000\ndata 0\n", ref)));
  return import;
}

absl::Status FastImport::Add(const ArchiveMember& member) {
  const std::string path = Quoted(member.path);
  switch (member.kind) {
    case MemberKind::kFile:
      return Write(fmt::format("M 100644 inline {}\ndata {}\n", path, member.size_bytes));
    case MemberKind::kExecutable:
      return Write(fmt::format("M 100755 inline {}\ndata {}\n", path, member.size_bytes));
    case MemberKind::kSymlink:
      return Write(fmt::format("M 120000 inline {}\ndata {}\n{}", path, member.target.size(),
                               member.target));
    case MemberKind::kHardlink:
      return Write(fmt::format("C {} {}\n", Quoted(member.target), path));
    case MemberKind::kFolder:
    case MemberKind::kCharacterDevice:
    case MemberKind::kBlockDevice:
      break;
  }
  return absl::InternalError("no such member belongs in a source");
}

absl::Status FastImport::WriteBytes(std::string_view bytes) { return Write(bytes); }

absl::Status FastImport::Finish() {
  KDBG_RETURN_IF_ERROR(Write("\ndone\n"));
  KDBG_RETURN_IF_ERROR(Flush());
  input_.Reset();
  return Ended();
}

absl::Status FastImport::Write(std::string_view bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) KDBG_RETURN_IF_ERROR(Flush());
  if (bytes.size() < kBufferBytes) {
    buffer_ += bytes;
    return absl::OkStatus();
  }
  if (!WriteAll(input_.get(), bytes).ok()) return Ended();
  return absl::OkStatus();
}

absl::Status FastImport::Flush() {
  if (!WriteAll(input_.get(), buffer_).ok()) return Ended();
  buffer_.clear();
  return absl::OkStatus();
}

// The pipe broke or was closed: git's exit says why.
absl::Status FastImport::Ended() {
  input_.Reset();
  const ExitStatus status = process_.Wait();
  if (status.ok()) return absl::OkStatus();
  std::string text(4096, '\0');
  const ssize_t n = ::pread(error_.get(), text.data(), text.size(), 0);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return Git::Failure("git fast-import", status, text);
}

}  // namespace kdbg::source
