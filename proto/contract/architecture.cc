#include "proto/contract/architecture.h"

namespace kdbg {
namespace {

constexpr ArchitectureTraits kTable[] = {
    {.architecture = Architecture::kX86_64,
     .name = "x86_64",
     .make_arch = "x86_64",
     .source_directory = "x86",
     .cross_prefix = "x86_64-linux-gnu-",
     .compiler_package = "gcc-x86-64-linux-gnu",
     .libc_package = "libc6-dev-amd64-cross",
     .image_target = "bzImage",
     .image_path = "arch/x86/boot/bzImage",
     .qemu_binary = "qemu-system-x86_64",
     .qemu_package = "qemu-system-x86",
     .machine = "pc",
     .libvirt_arch = "x86_64",
     .tcg_cpu = "",
     .acpi = true,
     .vmcoreinfo = true,
     .panic_device = PanicDevice::kIsa,
     .console = "ttyS0",
     .gdb_architecture = "i386:x86-64",
     .pc_register = "rip"},
    {.architecture = Architecture::kArm64,
     .name = "arm64",
     .make_arch = "arm64",
     .source_directory = "arm64",
     .cross_prefix = "aarch64-linux-gnu-",
     .compiler_package = "gcc-aarch64-linux-gnu",
     .libc_package = "libc6-dev-arm64-cross",
     .image_target = "Image",
     .image_path = "arch/arm64/boot/Image",
     .qemu_binary = "qemu-system-aarch64",
     .qemu_package = "qemu-system-arm",
     .machine = "virt",
     .libvirt_arch = "aarch64",
     .tcg_cpu = "cortex-a57",
     .acpi = false,
     .vmcoreinfo = true,
     .panic_device = PanicDevice::kPci,
     .console = "ttyAMA0",
     .gdb_architecture = "aarch64",
     .pc_register = "pc"},
    {.architecture = Architecture::kRiscv64,
     .name = "riscv64",
     .make_arch = "riscv",
     .source_directory = "riscv",
     .cross_prefix = "riscv64-linux-gnu-",
     .compiler_package = "gcc-riscv64-linux-gnu",
     .libc_package = "libc6-dev-riscv64-cross",
     .image_target = "Image",
     .image_path = "arch/riscv/boot/Image",
     .qemu_binary = "qemu-system-riscv64",
     .qemu_package = "qemu-system-misc",
     .machine = "virt",
     .libvirt_arch = "riscv64",
     .tcg_cpu = "",
     .acpi = false,
     .vmcoreinfo = false,
     .panic_device = PanicDevice::kPci,
     .console = "ttyS0",
     .gdb_architecture = "riscv:rv64",
     .pc_register = "pc"},
};

}  // namespace

std::span<const ArchitectureTraits> Architectures() { return kTable; }

const ArchitectureTraits& TraitsOf(Architecture architecture) {
  return kTable[static_cast<std::size_t>(architecture)];
}

const ArchitectureTraits* FindArchitecture(std::string_view name) {
  for (const ArchitectureTraits& traits : kTable) {
    if (traits.name == name) return &traits;
  }
  return nullptr;
}

Architecture HostArchitecture() {
#if defined(__aarch64__)
  return Architecture::kArm64;
#elif defined(__riscv)
  return Architecture::kRiscv64;
#else
  return Architecture::kX86_64;
#endif
}

std::string_view GdbFor(Architecture architecture) {
  return architecture == HostArchitecture() ? "gdb" : "gdb-multiarch";
}

}  // namespace kdbg
