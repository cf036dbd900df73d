#include "server/session/admission.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "proto/contract/architecture.h"
#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/store/artifact_layout.h"

namespace kdbg::session {
namespace {

constexpr std::string_view kMapFile = "System.map";

absl::Status Unfit(Reason reason, std::string_view message, ErrorMetadata metadata = {}) {
  return MakeError(absl::StatusCode::kFailedPrecondition, reason, message, std::move(metadata));
}

absl::Status FillShape(SessionRequest& request, const SessionLimits& limits) {
  if (request.vcpu_count == 0) request.vcpu_count = 1;
  if (request.memory_mib == kDefaultMemory) request.memory_mib = limits.default_memory_mib;
  if (request.vcpu_count < 1 || request.vcpu_count > limits.maximum_vcpu_count) {
    return InvalidField("shape.vcpu_count", std::to_string(request.vcpu_count),
                        fmt::format("{} virtual CPUs: this host gives a guest 1 to {}",
                                    request.vcpu_count, limits.maximum_vcpu_count));
  }
  if (request.memory_mib < limits.minimum_memory_mib ||
      request.memory_mib > limits.maximum_memory_mib) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, Reason::kMemoryOutOfBounds,
        fmt::format("{} MiB of memory: this host gives a guest {} to {} MiB", request.memory_mib,
                    limits.minimum_memory_mib, limits.maximum_memory_mib),
        {{"field", "shape.memory_mib"},
         {"memory_mib", std::to_string(request.memory_mib)},
         {"maximum_memory_mib", std::to_string(limits.maximum_memory_mib)}});
  }
  return absl::OkStatus();
}

absl::StatusOr<vm::Accelerator> Choose(AcceleratorChoice choice, const ArchitectureTraits& traits,
                                       const Accelerators& accelerators) {
  if (choice == AcceleratorChoice::kTcg) return vm::Accelerator::kTcg;
  if (traits.architecture != HostArchitecture()) {
    if (choice == AcceleratorChoice::kAuto) return vm::Accelerator::kTcg;
    return Unfit(Reason::kAcceleratorUnavailable,
                 fmt::format("KVM runs guests of the host's own architecture, not {}; ask for tcg "
                             "or auto",
                             traits.name));
  }
  if (accelerators.kvm_usable) return vm::Accelerator::kKvm;
  if (choice == AcceleratorChoice::kAuto) return vm::Accelerator::kTcg;
  return Unfit(Reason::kAcceleratorUnavailable,
               fmt::format("KVM does not work on this host ({}); ask for tcg or auto",
                           accelerators.kvm_reason));
}

absl::StatusOr<guest::StopPoint> StopPointOf(const SessionRequest& request) {
  if (const auto* symbol = std::get_if<SymbolStop>(&request.stop)) {
    if (symbol->symbol.empty() || symbol->symbol.size() > 256) {
      return InvalidField("stop_point.symbol", symbol->symbol.substr(0, 64),
                          "the stop point's symbol must have 1 to 256 characters");
    }
    if (request.randomize_base) {
      return InvalidField("stop_point.symbol", symbol->symbol,
                          "a kernel that places itself at random cannot be stopped at a symbol; "
                          "leave randomization off, or stop at shell, reset or none");
    }
    return guest::StopPoint(guest::StopAtSymbol{symbol->symbol});
  }
  if (std::holds_alternative<ShellStop>(request.stop)) {
    if (request.initramfs_artifact.empty()) {
      return InvalidField("stop_point.shell", "shell",
                          "without an initramfs there is no user space to wait for");
    }
    return guest::StopPoint(guest::StopAtShell{});
  }
  if (std::holds_alternative<ResetStop>(request.stop))
    return guest::StopPoint(guest::StopAtReset{});
  return guest::StopPoint(guest::StopNowhere{});
}

absl::StatusOr<std::filesystem::path> BlobOf(const store::Artifact& artifact, std::string_view path,
                                             const store::BlobStore& blobs) {
  const store::ArtifactFile* file = artifact.FindFile(path);
  if (file == nullptr) {
    return Unfit(Reason::kWrongState, fmt::format("artifacts/{} has no {}", artifact.id, path));
  }
  return blobs.PathOf(file->digest);
}

// A kernel that cannot unpack it would panic for want of a root file system.
absl::StatusOr<std::filesystem::path> InitramfsOf(const store::Artifact& kernel,
                                                  const store::Artifact& initramfs,
                                                  const store::BlobStore& blobs) {
  const auto packed = initramfs.attributes.find(store::kPackedAttribute);
  const auto unpacks = kernel.attributes.find(store::kUnpacksAttribute);
  if (packed != initramfs.attributes.end() && packed->second != "none" &&
      unpacks != kernel.attributes.end() &&
      unpacks->second.find(packed->second) == std::string::npos) {
    return Unfit(
        Reason::kWrongState,
        fmt::format("artifacts/{} is packed with {}, which the kernel cannot unpack: build "
                    "the initramfs with --compress none, or the kernel with "
                    "CONFIG_RD_{}=y",
                    initramfs.id, packed->second, absl::AsciiStrToUpper(packed->second)));
  }
  for (const store::ArtifactFile& file : initramfs.files) {
    if (file.path.starts_with(store::kInitramfsFile)) return blobs.PathOf(file.digest);
  }
  return BlobOf(initramfs, store::kInitramfsFile, blobs);
}

// What the kernel was built before this was noted of is not known, and so not refused.
absl::Status CheckDrives(const SessionRequest& request, const store::Artifact& kernel) {
  const auto attribute = kernel.attributes.find(store::kDrivesAttribute);
  if (attribute == kernel.attributes.end()) return absl::OkStatus();
  const std::vector<std::string> drives = absl::StrSplit(attribute->second, ' ');
  const auto lacks = [&](std::string_view what) {
    return std::find(drives.begin(), drives.end(), what) == drives.end();
  };
  if (request.network && lacks("net")) {
    return Unfit(Reason::kWrongState,
                 fmt::format("artifacts/{} has no driver for the network device: build the kernel "
                             "with CONFIG_VIRTIO_NET, CONFIG_VIRTIO_PCI and CONFIG_INET, or create "
                             "the session without a network",
                             kernel.id));
  }
  if (!request.disk_image.empty() && lacks("disk")) {
    return Unfit(Reason::kWrongState,
                 fmt::format("artifacts/{} has no driver for the disk: build the kernel with --set "
                             "CONFIG_BLOCK=y --set CONFIG_BLK_DEV=y --set CONFIG_VIRTIO_BLK=y (and "
                             "its file system), or create the session without a disk",
                             kernel.id));
  }
  if (!request.folder_upload.empty() && lacks("folder")) {
    return Unfit(Reason::kWrongState,
                 fmt::format("artifacts/{} cannot read the folder: build the kernel with --set "
                             "CONFIG_NET_9P=y --set CONFIG_NET_9P_VIRTIO=y --set "
                             "CONFIG_NETWORK_FILESYSTEMS=y --set CONFIG_9P_FS=y, or create the "
                             "session without a folder",
                             kernel.id));
  }
  return absl::OkStatus();
}

absl::Status CheckKinds(const store::Artifact& kernel, const store::Artifact* initramfs) {
  if (kernel.kind != store::ArtifactKind::kKernel) {
    return InvalidField("kernel", kernel.id,
                        fmt::format("artifacts/{} is no kernel; name a kernel build", kernel.id));
  }
  if (kernel.FindFile("vmlinux") == nullptr || kernel.gnu_build_id.empty()) {
    return Unfit(Reason::kNoDebugInformation,
                 fmt::format("artifacts/{} has no vmlinux with debug information; build the kernel "
                             "again",
                             kernel.id));
  }
  if (initramfs == nullptr) return absl::OkStatus();
  if (initramfs->kind != store::ArtifactKind::kInitramfs) {
    return InvalidField(
        "initramfs", initramfs->id,
        fmt::format("artifacts/{} is no initramfs; name an initramfs build", initramfs->id));
  }
  if (initramfs->architecture != kernel.architecture) {
    return Unfit(Reason::kWrongState,
                 fmt::format("the kernel is built for {}, the initramfs for {}; build one of them "
                             "again for the other's architecture",
                             kernel.architecture, initramfs->architecture));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Admitted> Admit(const SessionRequest& request, const store::Artifact& kernel,
                               const store::Artifact* initramfs, const store::BlobStore& blobs,
                               const SessionLimits& limits, const Accelerators& accelerators) {
  Admitted admitted;
  admitted.request = request;
  KDBG_RETURN_IF_ERROR(FillShape(admitted.request, limits));
  KDBG_RETURN_IF_ERROR(CheckKinds(kernel, initramfs));
  KDBG_RETURN_IF_ERROR(CheckDrives(request, kernel));
  admitted.ttl = request.ttl.value_or(limits.default_ttl);
  if (admitted.ttl <= absl::ZeroDuration() || admitted.ttl > limits.maximum_ttl) {
    return InvalidField("ttl", absl::FormatDuration(admitted.ttl),
                        fmt::format("a lease lasts more than 0 and at most {}",
                                    absl::FormatDuration(limits.maximum_ttl)));
  }
  const ArchitectureTraits* traits = FindArchitecture(kernel.architecture);
  if (traits == nullptr) {
    return Unfit(Reason::kWrongState, fmt::format("artifacts/{} is built for '{}', which this "
                                                  "server does not know",
                                                  kernel.id, kernel.architecture));
  }

  guest::GuestSpec& guest = admitted.guest;
  guest.architecture = traits->architecture;
  KDBG_ASSIGN_OR_RETURN(guest.accelerator, Choose(request.accelerator, *traits, accelerators));
  guest.vcpu_count = admitted.request.vcpu_count;
  guest.memory_mib = admitted.request.memory_mib;
  guest.base_address =
      request.randomize_base ? guest::BaseAddress::kRandomized : guest::BaseAddress::kLinked;
  KDBG_ASSIGN_OR_RETURN(guest.kernel_image, BlobOf(kernel, traits->image_target, blobs));
  KDBG_ASSIGN_OR_RETURN(guest.system_map, BlobOf(kernel, kMapFile, blobs));
  if (initramfs != nullptr) {
    KDBG_ASSIGN_OR_RETURN(guest.initramfs, InitramfsOf(kernel, *initramfs, blobs));
    const auto announces = initramfs->attributes.find(store::kAnnouncesAttribute);
    guest.ready_sign = announces != initramfs->attributes.end() && announces->second == "1"
                           ? guest::ReadySign::kMarkerLine
                           : guest::ReadySign::kFirstUserInstruction;
  }
  KDBG_ASSIGN_OR_RETURN(
      guest.command_line,
      guest::ComposeCommandLine(guest.architecture, guest.base_address, request.kernel_arguments));
  KDBG_ASSIGN_OR_RETURN(admitted.stop, StopPointOf(request));
  return admitted;
}

}  // namespace kdbg::session
