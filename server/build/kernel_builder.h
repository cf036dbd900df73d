// Makes a Linux kernel of a checked-out source: config, compile, check, and its files in the store.
// Lives for one build, on that build's thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/build/build_record.h"
#include "server/build/build_run.h"
#include "server/build/eras.h"
#include "server/build/kconfig.h"
#include "server/build/kernel_config.h"
#include "server/build/outputs.h"
#include "server/build/toolchain.h"
#include "server/build/vmlinux_check.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"

namespace kdbg::build {

// What a builder hands over: the part of an artifact that the bytes decide.
struct BuiltArtifact {
  std::vector<store::ArtifactFile> files;
  std::string gnu_build_id;
  std::string version;
  std::map<std::string, std::string> attributes;
};

// What it was made of, for metadata.json.
struct BuildOrigin {
  std::string build_id;
  std::string source_id;
  std::string source_text;  // what people call the source
  std::string tree;
  std::string version;  // of the source: "6.1.170"
};

// UNIMPLEMENTED, INVALID_ARGUMENT (kConfigInvalid and others) for a request that cannot be met
// whatever the source is.
absl::Status CheckKernelRequest(const KernelRequest& request);

// Where the tree has the base config's file; empty for those that every tree has.
std::string BaseConfigPath(const KernelRequest& request);

// Everything that decides the config, beside the source. Same digest, same config.
std::string ConfigKey(const KernelRequest& request, const Toolchain& toolchain);

class KernelBuilder {
 public:
  KernelBuilder(BuildRun& run, store::BlobStore& blobs, const KernelRequest& request,
                const Toolchain& toolchain, const BuildOrigin& origin);

  // Whether a change of this file of the source may change the config.
  static bool DecidesConfig(const std::string& path);

  // Leaves the verified config in the build directory. The result says nothing of what is compiled.
  absl::Status Configure();
  // Whether Configure has been here before.
  bool HasConfig() const;

  // Lets somebody change the config that Configure left, by make's target `program` on a terminal:
  // what was saved, nullopt when the program was left without saving. Errors as of BuildRun.
  absl::StatusOr<std::optional<std::string>> Edit(const std::string& program,
                                                  const BuildTerminal& terminal);

  absl::StatusOr<BuiltArtifact> Build();

 private:
  std::vector<std::string> MakeArguments() const;
  BuildCommand Make(std::string label, std::string script, std::vector<std::string> more) const;
  absl::Status Compile();
  absl::StatusOr<VmlinuxFacts> Verify() const;
  absl::Status TakeOutputs();
  absl::Status TakeModules();
  absl::Status TakeGdbScripts();
  absl::Status TakeMetadata(const VmlinuxFacts& facts, const std::string& version);
  absl::StatusOr<const Kconfig*> LoadKconfig();

  BuildRun& run_;
  const KernelRequest& request_;
  const std::vector<Era> eras_;
  const ArchitectureTraits& traits_;
  const Toolchain& toolchain_;
  const BuildOrigin& origin_;
  Outputs outputs_;
  ConfigValues config_;
  std::string config_digest_;
  std::optional<Kconfig> kconfig_;
};

}  // namespace kdbg::build
