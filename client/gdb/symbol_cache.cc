#include "client/gdb/symbol_cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <system_error>

#include "client/channel/download.h"
#include "client/output/text.h"
#include "proto/support/errno_status.h"
#include "proto/support/file.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"

namespace kdbg::client {
namespace {

constexpr char kVmlinux[] = "vmlinux";
constexpr char kIndex[] = "vmlinux.gdb-index";
constexpr char kScript[] = "vmlinux-gdb.py";
constexpr std::string_view kScriptDirectory = "scripts/gdb/";
constexpr std::string_view kModuleDirectory = "modules/";

struct Fetcher {
  Server& server;
  Interrupt& interrupt;
  Progress& progress;
  const v1::Artifact& kernel;

  absl::Status Download(const v1::ArtifactFile& file, const std::filesystem::path& to,
                        const std::optional<BaseFile>& base = std::nullopt) const {
    const auto show = [&](std::int64_t received) {
      // One phase: where there is no live line, two dozen scripts are not two dozen lines.
      progress.Update("fetching symbols:",
                      fmt::format("{} {} {} of {}", file.path(), Bar(received, file.size_bytes()),
                                  Bytes(received), Bytes(file.size_bytes())));
    };
    return DownloadFile(server, interrupt, kernel.name(), file, to, show, base);
  }
};

const v1::ArtifactFile* Find(const v1::Artifact& artifact, std::string_view path) {
  for (const v1::ArtifactFile& file : artifact.files()) {
    if (file.path() == path) return &file;
  }
  return nullptr;
}

bool IsHexDigits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == text.npos;
}

// A stamp beside the data says what was fetched: written after it, so data without a stamp is
// fetched again.
bool StampIs(const std::filesystem::path& stamp, const std::string& digest) {
  const auto text = ReadFile(stamp, 4096);
  return text.ok() && *text == digest;
}

// The vmlinux that was fetched last: most often the same kernel before an edit.
std::optional<BaseFile> NewestVmlinux(const std::filesystem::path& symbols) {
  std::optional<BaseFile> newest;
  std::filesystem::file_time_type newest_time;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(symbols, error)) {
    const std::filesystem::path stamp = entry.path() / "vmlinux.sha256";
    std::error_code missing;
    const auto time = std::filesystem::last_write_time(stamp, missing);
    if (missing || (newest && time <= newest_time)) continue;
    const auto digest = ReadFile(stamp, 4096);
    if (!digest.ok()) continue;
    newest = BaseFile{.path = entry.path() / kVmlinux, .sha256 = *digest};
    newest_time = time;
  }
  return newest;
}

absl::StatusOr<std::filesystem::path> FetchVmlinux(const Fetcher& fetcher,
                                                   const v1::ArtifactFile& file,
                                                   const std::filesystem::path& directory) {
  if (auto in_place = ReadableInPlace(fetcher.server, file); !in_place.empty()) return in_place;
  const std::filesystem::path destination = directory / kVmlinux;
  const std::filesystem::path stamp = directory / "vmlinux.sha256";
  std::error_code error;
  const auto size = std::filesystem::file_size(destination, error);
  if (!error && static_cast<std::int64_t>(size) == file.size_bytes() &&
      StampIs(stamp, file.sha256())) {
    return destination;
  }
  KDBG_RETURN_IF_ERROR(fetcher.Download(file, destination, NewestVmlinux(directory.parent_path())));
  KDBG_RETURN_IF_ERROR(WriteFileAtomic(stamp, file.sha256()));
  return destination;
}

// gdb looks for <build id>.gdb-index itself. An index that is not there costs start-up time,
// nothing else.
absl::Status FetchIndex(const Fetcher& fetcher, const std::filesystem::path& directory) {
  const v1::ArtifactFile* file = Find(fetcher.kernel, kIndex);
  if (file == nullptr) return absl::OkStatus();
  const std::filesystem::path destination =
      directory / fmt::format("{}.gdb-index", fetcher.kernel.build_id());
  std::error_code error;
  if (std::filesystem::exists(destination, error)) return absl::OkStatus();
  const auto in_place = ReadableInPlace(fetcher.server, *file);
  if (in_place.empty()) return fetcher.Download(*file, destination);
  ::unlink(destination.c_str());  // a link whose file the server has deleted since
  if (::symlink(in_place.c_str(), destination.c_str()) != 0 && errno != EEXIST) {
    return ErrnoError(errno, "symlink " + destination.string());
  }
  return absl::OkStatus();
}

// The layout that vmlinux-gdb.py expects. Not beside vmlinux: gdb would offer to load it by itself.
absl::StatusOr<std::filesystem::path> FetchScripts(const Fetcher& fetcher,
                                                   const std::filesystem::path& directory) {
  if (Find(fetcher.kernel, kScript) == nullptr) return std::filesystem::path();
  std::vector<const v1::ArtifactFile*> files;
  std::string all;
  for (const v1::ArtifactFile& file : fetcher.kernel.files()) {
    if (file.path() != kScript && !file.path().starts_with(kScriptDirectory)) continue;
    KDBG_RETURN_IF_ERROR(CheckRelativePath(file.path()));
    files.push_back(&file);
    all += fmt::format("{} {}\n", file.path(), file.sha256());
  }
  const std::string digest = Sha256Hex(all);
  // Scripts of one build id can differ: the directory carries what they are.
  const std::filesystem::path scripts = directory / fmt::format("gdb-{}", digest.substr(0, 12));
  const std::filesystem::path stamp = scripts / ".complete";
  if (!StampIs(stamp, digest)) {
    for (const v1::ArtifactFile* file : files) {
      KDBG_RETURN_IF_ERROR(fetcher.Download(*file, scripts / file->path()));
    }
    KDBG_RETURN_IF_ERROR(WriteFileAtomic(stamp, digest));
  }
  return scripts / kScript;
}

absl::Status Link(const std::filesystem::path& target, const std::filesystem::path& link) {
  KDBG_RETURN_IF_ERROR(MakeDirectories(link.parent_path(), 0755));
  ::unlink(link.c_str());  // one to a file that the server has deleted since
  if (::symlink(target.c_str(), link.c_str()) == 0 || errno == EEXIST) return absl::OkStatus();
  return ErrnoError(errno, "symlink " + link.string());
}

// Modules with their debug information, below a directory of their own, because those of one build
// id can differ.
absl::StatusOr<std::filesystem::path> FetchModules(const Fetcher& fetcher,
                                                   const std::filesystem::path& vmlinux,
                                                   const std::filesystem::path& directory) {
  std::vector<const v1::ArtifactFile*> files;
  std::string all;
  for (const v1::ArtifactFile& file : fetcher.kernel.files()) {
    if (!file.path().starts_with(kModuleDirectory)) continue;
    KDBG_RETURN_IF_ERROR(CheckRelativePath(file.path()));
    files.push_back(&file);
    all += fmt::format("{} {}\n", file.path(), file.sha256());
  }
  const std::string digest = Sha256Hex(all);
  const std::filesystem::path build = directory / fmt::format("build-{}", digest.substr(0, 12));
  const std::filesystem::path stamp = build / ".complete";
  KDBG_RETURN_IF_ERROR(Link(vmlinux, build / kVmlinux));
  const bool complete = StampIs(stamp, digest);
  for (const v1::ArtifactFile* file : files) {
    const std::filesystem::path to = build / file->path();
    const auto in_place = ReadableInPlace(fetcher.server, *file);
    if (!in_place.empty()) {
      KDBG_RETURN_IF_ERROR(Link(in_place, to));
    } else if (!complete) {
      KDBG_RETURN_IF_ERROR(fetcher.Download(*file, to));
    }
  }
  KDBG_RETURN_IF_ERROR(WriteFileAtomic(stamp, digest));
  return build;
}

}  // namespace

std::filesystem::path SymbolCache::DirectoryOf(const v1::Artifact& kernel) const {
  return root_ / "symbols" / kernel.build_id();
}

absl::StatusOr<Symbols> SymbolCache::Fetch(Server& server, Interrupt& interrupt, Progress& progress,
                                           const v1::Artifact& kernel, Scripts scripts) const {
  const v1::ArtifactFile* vmlinux = Find(kernel, kVmlinux);
  // The build id names a directory here: what a server says is checked first.
  if (vmlinux == nullptr || !IsHexDigits(kernel.build_id())) {
    return absl::FailedPreconditionError(fmt::format(
        "{} has no vmlinux with a build id: build the kernel again with kdbgctl kernel build",
        kernel.name()));
  }
  const std::filesystem::path directory = DirectoryOf(kernel);
  Symbols symbols;
  symbols.index_directory = root_ / "gdb-index";
  KDBG_RETURN_IF_ERROR(MakeDirectories(directory, 0755));
  KDBG_RETURN_IF_ERROR(MakeDirectories(symbols.index_directory, 0755));
  const Fetcher fetcher{server, interrupt, progress, kernel};
  KDBG_ASSIGN_OR_RETURN(symbols.vmlinux, FetchVmlinux(fetcher, *vmlinux, directory));
  KDBG_RETURN_IF_ERROR(FetchIndex(fetcher, symbols.index_directory));
  if (scripts == Scripts::kYes) {
    KDBG_ASSIGN_OR_RETURN(symbols.scripts, FetchScripts(fetcher, directory));
    KDBG_ASSIGN_OR_RETURN(symbols.build_directory,
                          FetchModules(fetcher, symbols.vmlinux, directory));
  }
  progress.Clear();
  return symbols;
}

absl::StatusOr<std::filesystem::path> SymbolCache::FetchModule(
    Server& server, Interrupt& interrupt, Progress& progress, const v1::Artifact& kernel,
    const v1::ArtifactFile& module) const {
  // Both name files here: what a server says is checked first.
  if (!IsHexDigits(module.build_id()) || !IsHexDigits(module.sha256())) {
    return absl::FailedPreconditionError(
        fmt::format("{} is named in no usable way", module.path()));
  }
  if (auto in_place = ReadableInPlace(server, module); !in_place.empty()) return in_place;
  // Of one build id there may be several, here as everywhere: the digest tells them apart.
  const std::filesystem::path destination =
      root_ / "symbols" / module.build_id() / fmt::format("{}.ko", module.sha256().substr(0, 12));
  std::error_code error;
  if (std::filesystem::exists(destination, error)) return destination;
  const Fetcher fetcher{server, interrupt, progress, kernel};
  KDBG_RETURN_IF_ERROR(fetcher.Download(module, destination));
  progress.Clear();
  return destination;
}

}  // namespace kdbg::client
