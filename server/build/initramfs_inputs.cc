#include "server/build/initramfs_inputs.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/build/build_table.h"
#include "server/build/root_archive.h"
#include "server/source/upload_store.h"
#include "server/store/artifact_layout.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"

namespace kdbg::build {
namespace {

absl::Status Gone(const std::string& what) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                   fmt::format("{} is gone since this build was asked for: ask again", what),
                   {{"resource", what}, {"state", "deleted"}});
}

absl::Status Unfit(const std::string& build, const std::string& why) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                   fmt::format("{} {}", build, why), {{"resource", build}});
}

// The one that unpacks fastest of what this kernel can.
CpioCompression BestFor(const store::Artifact& kernel) {
  const auto found = kernel.attributes.find(store::kUnpacksAttribute);
  if (found == kernel.attributes.end()) return CpioCompression::kNone;
  if (found->second.find("zstd") != std::string::npos) return CpioCompression::kZstd;
  if (found->second.find("gzip") != std::string::npos) return CpioCompression::kGzip;
  return CpioCompression::kNone;
}

absl::Status ResolveModules(const InitramfsSources& sources, InitramfsRequest& request) {
  const std::string name = "builds/" + request.modules_build;
  KDBG_ASSIGN_OR_RETURN(const BuildRecord build, sources.builds.Get(request.modules_build));
  if (build.kind() != BuildKind::kKernel) {
    return InvalidField("initramfs.modules_build", name,
                        fmt::format("{} made no kernel: name a kernel build", name));
  }
  if (ArchitectureOf(build.request) != request.architecture) {
    return InvalidField("initramfs.modules_build", name,
                        fmt::format("{} is for {}: build the initramfs for that too", name,
                                    TraitsOf(ArchitectureOf(build.request)).name));
  }
  if (build.state != BuildState::kSucceeded) {
    return Unfit(name, fmt::format("is {}: name one that succeeded", ToString(build.state)));
  }
  const auto kernel = sources.artifacts.Get(build.artifact_id);
  if (!kernel.ok()) return Unfit(name, "has no artifact any more: build the kernel again");
  const store::ArtifactFile* modules = kernel->FindFile(store::kModulesFile);
  if (modules == nullptr) {
    return Unfit(name,
                 "has no modules: build the kernel with --set CONFIG_MODULES=y and something =m");
  }
  request.modules_sha256 = modules->digest;
  if (!request.compression) request.compression = BestFor(*kernel);
  return absl::OkStatus();
}

}  // namespace

absl::Status ResolveInputs(const InitramfsSources& sources, InitramfsRequest& request) {
  for (InitramfsOverlay& overlay : request.overlays) {
    KDBG_ASSIGN_OR_RETURN(const source::Upload upload, sources.uploads.Get(overlay.upload_id));
    if (!upload.complete) {
      return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kUploadIncomplete,
                       fmt::format("uploads/{} has {} of {} bytes: send the rest first", upload.id,
                                   upload.received_bytes, upload.size_bytes),
                       {{"upload", "uploads/" + upload.id},
                        {"received_bytes", std::to_string(upload.received_bytes)},
                        {"size_bytes", std::to_string(upload.size_bytes)}});
    }
    overlay.sha256 = upload.sha256;
  }
  if (!request.modules_build.empty()) KDBG_RETURN_IF_ERROR(ResolveModules(sources, request));
  // Without a kernel in sight, what every kernel takes.
  if (!request.compression) request.compression = CpioCompression::kNone;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<CpioEntry>>> ReadLayers(const InitramfsSources& sources,
                                                               const InitramfsRequest& request) {
  std::vector<std::vector<CpioEntry>> layers;
  std::int64_t bytes_left = kMaximumRootBytes;
  if (!request.modules_sha256.empty()) {
    const std::filesystem::path path = sources.blobs.PathOf(request.modules_sha256);
    const UniqueFd modules(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!modules) return Gone("builds/" + request.modules_build);
    KDBG_ASSIGN_OR_RETURN(std::vector<CpioEntry> layer, ReadRootArchive(modules, bytes_left));
    layers.push_back(std::move(layer));
  }
  for (const InitramfsOverlay& overlay : request.overlays) {
    auto upload = sources.uploads.OpenComplete(overlay.upload_id);
    if (!upload.ok()) return Gone("uploads/" + overlay.upload_id);
    KDBG_ASSIGN_OR_RETURN(std::vector<CpioEntry> layer, ReadRootArchive(*upload, bytes_left));
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace kdbg::build
