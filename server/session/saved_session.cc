#include "server/session/saved_session.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"

namespace kdbg::session {
namespace {

constexpr char kEmulator[] = "emulator";
constexpr char kKernel[] = "kernel_artifact";
constexpr char kInitramfs[] = "initramfs_artifact";
constexpr char kKernelBuild[] = "kernel_build";
constexpr char kInitramfsBuild[] = "initramfs_build";
constexpr char kVcpus[] = "vcpu_count";
constexpr char kMemory[] = "memory_mib";
constexpr char kAccelerator[] = "accelerator";
constexpr char kRandomBase[] = "randomize_base";
constexpr char kArguments[] = "kernel_arguments";
constexpr char kStopped[] = "stopped_at";

std::string Text(const store::Artifact& saved, const char* name) {
  const auto found = saved.attributes.find(name);
  return found == saved.attributes.end() ? std::string() : found->second;
}

std::optional<std::int64_t> Number(const store::Artifact& saved, const char* name) {
  const std::string text = Text(saved, name);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::map<std::string, std::string> SavedAttributes(const SessionRecord& record,
                                                   std::string_view emulator) {
  const SessionRequest& request = record.request;
  return {{kEmulator, std::string(emulator)},
          {kKernel, request.kernel_artifact},
          {kInitramfs, request.initramfs_artifact},
          {kKernelBuild, request.kernel_build},
          {kInitramfsBuild, request.initramfs_build},
          {kVcpus, std::to_string(request.vcpu_count)},
          {kMemory, std::to_string(request.memory_mib)},
          {kAccelerator, record.accelerator},
          {kRandomBase, request.randomize_base ? "1" : "0"},
          {kArguments, request.kernel_arguments},
          {kStopped, record.stopped_at}};
}

absl::StatusOr<SessionRequest> RequestToRestore(const store::Artifact& saved) {
  if (saved.kind != store::ArtifactKind::kSavedState) {
    return InvalidField(
        "artifact", saved.id,
        fmt::format("artifacts/{} is no saved state; make one with session save", saved.id));
  }
  const std::optional<std::int64_t> vcpus = Number(saved, kVcpus);
  const std::optional<std::int64_t> memory = Number(saved, kMemory);
  SessionRequest request;
  request.saved_state = saved.id;
  request.kernel_artifact = Text(saved, kKernel);
  request.initramfs_artifact = Text(saved, kInitramfs);
  request.kernel_build = Text(saved, kKernelBuild);
  request.initramfs_build = Text(saved, kInitramfsBuild);
  request.accelerator =
      Text(saved, kAccelerator) == "kvm" ? AcceleratorChoice::kKvm : AcceleratorChoice::kTcg;
  request.randomize_base = Text(saved, kRandomBase) == "1";
  request.kernel_arguments = Text(saved, kArguments);
  request.stop = ResetStop{};  // it does not boot
  if (!vcpus || !memory || request.kernel_artifact.empty()) {
    return MakeError(absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
                     fmt::format("artifacts/{} does not say what machine it is of", saved.id));
  }
  request.vcpu_count = static_cast<int>(*vcpus);
  request.memory_mib = *memory;
  return request;
}

absl::Status CheckEmulator(const store::Artifact& saved, std::string_view emulator) {
  const std::string from = Text(saved, kEmulator);
  if (from == emulator) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHypervisorRefused,
                   fmt::format("artifacts/{} was saved by QEMU {}, and here runs {}, which may "
                               "take it for something else: boot anew with session create",
                               saved.id, from, emulator));
}

std::string StoppedAt(const store::Artifact& saved) { return Text(saved, kStopped); }

}  // namespace kdbg::session
