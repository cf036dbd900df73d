// Makes an initramfs of a checked-out BusyBox source: config, static compile, tree, archive. Lives
// for one build, on that build's thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/build/build_record.h"
#include "server/build/build_run.h"
#include "server/build/initramfs_inputs.h"
#include "server/build/kernel_builder.h"
#include "server/build/outputs.h"
#include "server/build/toolchain.h"
#include "server/store/blob_store.h"

namespace kdbg::build {

// As CheckKernelRequest and ConfigKey.
absl::Status CheckInitramfsRequest(const InitramfsRequest& request);
std::string ConfigKey(const InitramfsRequest& request, const Toolchain& toolchain);

class InitramfsBuilder {
 public:
  InitramfsBuilder(BuildRun& run, store::BlobStore& blobs, const InitramfsSources& sources,
                   const InitramfsRequest& request, const Toolchain& toolchain,
                   const BuildOrigin& origin);

  // As of KernelBuilder. BusyBox keeps its config entries in the C files they are about.
  static bool DecidesConfig(const std::string& /*path*/) { return true; }
  absl::Status Configure();
  bool HasConfig() const;
  absl::StatusOr<BuiltArtifact> Build();

 private:
  BuildCommand Make(std::string label, std::string script, std::vector<std::string> more) const;
  absl::Status Verify(const std::string& config) const;
  absl::StatusOr<std::string> ReadProgram() const;
  absl::Status Pack();
  absl::Status TakeMetadata(const std::string& config, const std::string& version);

  BuildRun& run_;
  store::BlobStore& blobs_;
  const InitramfsSources sources_;
  const InitramfsRequest& request_;
  const ArchitectureTraits& traits_;
  const Toolchain& toolchain_;
  const BuildOrigin& origin_;
  Outputs outputs_;
  bool announces_ = false;  // our own init is in it
};

}  // namespace kdbg::build
