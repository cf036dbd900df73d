// The one table of what differs between processor architectures.
#pragma once

#include <span>
#include <string_view>

namespace kdbg {

enum class Architecture { kX86_64, kArm64, kRiscv64 };

// How a guest tells its host that its kernel has panicked.
enum class PanicDevice { kIsa, kPci };

struct ArchitectureTraits {
  Architecture architecture;
  std::string_view name;              // as in --arch and in artifacts
  std::string_view make_arch;         // ARCH= of the kernel's make
  std::string_view source_directory;  // below arch/ in the kernel tree
  std::string_view cross_prefix;      // CROSS_COMPILE= when it is not the host's own
  std::string_view compiler_package;  // Debian's, on a host of another architecture
  std::string_view libc_package;      // likewise: what static programs are linked with
  std::string_view image_target;      // make target and base name of the boot image
  std::string_view image_path;        // in the build directory
  std::string_view qemu_binary;
  std::string_view qemu_package;
  std::string_view machine;
  std::string_view libvirt_arch;
  std::string_view tcg_cpu;  // libvirt CPU model under TCG; empty: libvirt's default
  bool acpi;                 // the machine has it without a firmware of its own
  bool vmcoreinfo;           // Linux can tell it where its crash notes are
  PanicDevice panic_device;
  std::string_view console;           // console= device of the kernel command line
  std::string_view gdb_architecture;  // gdb's `set architecture`
  std::string_view pc_register;       // name in gdb
};

std::span<const ArchitectureTraits> Architectures();
const ArchitectureTraits& TraitsOf(Architecture architecture);
// nullptr for a name not in the table.
const ArchitectureTraits* FindArchitecture(std::string_view name);
// The one this program was compiled for.
Architecture HostArchitecture();
// The gdb that reads such programs here: Debian's plain one knows the host's own alone.
std::string_view GdbFor(Architecture architecture);

}  // namespace kdbg
