#include "server/build/kernel_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"

namespace kdbg::build {
namespace {

constexpr std::string_view kTiny = R"(
# A 64-bit machine with more than one processor, as QEMU makes it.
CONFIG_EXPERT=y
CONFIG_64BIT=y
CONFIG_SMP=y
CONFIG_PCI=y
CONFIG_PCI_MSI=y
CONFIG_ACPI=y
CONFIG_HYPERVISOR_GUEST=y
CONFIG_PARAVIRT=y
CONFIG_KVM_GUEST=y
CONFIG_HIGH_RES_TIMERS=y
CONFIG_NO_HZ_IDLE=y
CONFIG_RTC_CLASS=y
# Likewise, where there is no PC: its PCI bus, and what allnoconfig takes from riscv64.
CONFIG_PCI_HOST_GENERIC=y
CONFIG_MMU=y
CONFIG_FPU=y
CONFIG_SOC_VIRT=y
CONFIG_ARCH_VIRT=y
# Quick to compile and quick to unpack under emulation.
CONFIG_CC_OPTIMIZE_FOR_SIZE=y
CONFIG_KERNEL_GZIP=y
CONFIG_SLUB=y
# A console and messages.
CONFIG_PRINTK=y
CONFIG_PRINTK_TIME=y
CONFIG_BUG=y
CONFIG_EARLY_PRINTK=y
CONFIG_TTY=y
CONFIG_UNIX98_PTYS=y
CONFIG_SERIAL_8250=y
CONFIG_SERIAL_8250_CONSOLE=y
CONFIG_SERIAL_AMBA_PL011=y
CONFIG_SERIAL_AMBA_PL011_CONSOLE=y
CONFIG_SERIAL_OF_PLATFORM=y
CONFIG_MAGIC_SYSRQ=y
# What an initramfs and its programs need.
CONFIG_BLK_DEV_INITRD=y
CONFIG_RD_GZIP=y
CONFIG_RD_XZ=y
CONFIG_RD_LZ4=y
CONFIG_RD_ZSTD=y
CONFIG_BINFMT_ELF=y
CONFIG_BINFMT_SCRIPT=y
CONFIG_PROC_FS=y
CONFIG_PROC_SYSCTL=y
CONFIG_SYSFS=y
CONFIG_DEBUG_FS=y
CONFIG_SHMEM=y
CONFIG_TMPFS=y
CONFIG_DEVTMPFS=y
CONFIG_MULTIUSER=y
CONFIG_FUTEX=y
CONFIG_EPOLL=y
CONFIG_SIGNALFD=y
CONFIG_TIMERFD=y
CONFIG_EVENTFD=y
CONFIG_POSIX_TIMERS=y
CONFIG_FILE_LOCKING=y
CONFIG_ADVISE_SYSCALLS=y
CONFIG_MEMBARRIER=y
CONFIG_SYSVIPC=y
CONFIG_INOTIFY_USER=y
CONFIG_COREDUMP=y
CONFIG_ELF_CORE=y
# What somebody who debugs wants to see.
CONFIG_DEBUG_KERNEL=y
CONFIG_DEBUG_BUGVERBOSE=y
CONFIG_KALLSYMS_ALL=y
CONFIG_IKCONFIG=y
CONFIG_IKCONFIG_PROC=y
# Being a guest: panics are noticed, dumps can be read, clones get fresh randomness, files and
# packets can be passed through.
CONFIG_PVPANIC=y
CONFIG_PVPANIC_PCI=y
CONFIG_PVPANIC_MMIO=y
CONFIG_FW_CFG_SYSFS=y
CONFIG_KEXEC=y
CONFIG_CRASH_DUMP=y
CONFIG_PROC_VMCORE=y
CONFIG_VIRT_DRIVERS=y
CONFIG_VMGENID=y
CONFIG_VIRTIO_MENU=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_MMIO=y
CONFIG_NET=y
CONFIG_UNIX=y
CONFIG_INET=y
CONFIG_NETDEVICES=y
CONFIG_NET_CORE=y
CONFIG_VIRTIO_NET=y
CONFIG_NETWORK_FILESYSTEMS=y
CONFIG_NET_9P=y
CONFIG_NET_9P_VIRTIO=y
CONFIG_9P_FS=y
)";

// What gdb needs, over whatever the caller asked for. Names that a tree does not know do no harm.
struct Mandatory {
  std::string_view symbol;
  std::string_view value;
  bool required;  // a config that does not have it is refused
};
constexpr Mandatory kMandatory[] = {
    {"DEBUG_KERNEL", "y", false},
    {"DEBUG_INFO", "y", true},
    {"DEBUG_INFO_NONE", "n", false},
    {"DEBUG_INFO_REDUCED", "n", true},
    {"DEBUG_INFO_SPLIT", "n", true},
    {"DEBUG_INFO_COMPRESSED", "n", true},
    {"DEBUG_INFO_COMPRESSED_ZLIB", "n", false},
    {"DEBUG_INFO_COMPRESSED_ZSTD", "n", false},
    {"GDB_SCRIPTS", "y", true},
    {"KALLSYMS", "y", true},
    {"RANDOMIZE_BASE", "n", true},
};
// A choice where 5.12 and later have it; the older ones know DEBUG_INFO alone.
constexpr std::string_view kDwarfChoice[] = {"DEBUG_INFO_DWARF4", "DEBUG_INFO_DWARF5",
                                             "DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT"};
// arm64 and riscv keep frame pointers always.
constexpr Mandatory kMandatoryX86[] = {
    {"UNWINDER_ORC", "n", false},
    {"UNWINDER_GUESS", "n", false},
    {"UNWINDER_FRAME_POINTER", "y", false},
    {"FRAME_POINTER", "y", true},
};

std::vector<Mandatory> MandatoryOf(Architecture architecture) {
  std::vector<Mandatory> all(std::begin(kMandatory), std::end(kMandatory));
  if (architecture == Architecture::kX86_64) {
    all.insert(all.end(), std::begin(kMandatoryX86), std::end(kMandatoryX86));
  }
  return all;
}

std::string Wish(std::string_view symbol, std::string_view value) {
  return ConfigEntry{std::string(symbol), std::string(value)}.ToLine();
}

absl::Status Unknown(const ConfigEntry& entry, const Kconfig& kconfig) {
  const std::string nearest = kconfig.Nearest(entry.symbol);
  ErrorMetadata metadata = {{"symbol", "CONFIG_" + entry.symbol}};
  std::string advice = "check its name, or whether another version of the source has it";
  if (!nearest.empty()) {
    metadata["suggestion"] = "CONFIG_" + nearest;
    advice = fmt::format("did you mean CONFIG_{}?", nearest);
  }
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kConfigSymbolUnknown,
                   fmt::format("this source has no CONFIG_{}: {}", entry.symbol, advice),
                   std::move(metadata));
}

absl::Status Lost(const ConfigEntry& entry, const ConfigValues& values, const Kconfig& kconfig) {
  const Kconfig::Cause cause = kconfig.Explain(entry.symbol, entry.value, values);
  const std::string got = values.Has(entry.symbol)
                              ? Wish(entry.symbol, values.Get(entry.symbol))
                              : fmt::format("CONFIG_{} is not there", entry.symbol);
  std::string message = fmt::format("\"{}\" did not survive (the result: {})", entry.ToLine(), got);
  if (!cause.explanation.empty()) message += ": " + cause.explanation;
  message += cause.dependency.empty() ? "; drop it, or change what it follows from"
                                      : fmt::format("; add {} as well, or drop CONFIG_{}",
                                                    cause.dependency, entry.symbol);
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kConfigSymbolLost, message,
                   {{"symbol", "CONFIG_" + entry.symbol}, {"dependency", cause.dependency}});
}

}  // namespace

std::string_view TinyFragment() { return kTiny; }

std::vector<ConfigEntry> MandatoryEntries(Architecture architecture,
                                          const std::vector<ConfigEntry>& requested) {
  std::vector<ConfigEntry> entries;
  for (const Mandatory& mandatory : MandatoryOf(architecture)) {
    entries.push_back({std::string(mandatory.symbol), std::string(mandatory.value)});
  }
  // Which DWARF it is may be chosen.
  const bool chosen = std::any_of(requested.begin(), requested.end(), [](const ConfigEntry& entry) {
    return entry.value == "y" && std::find(std::begin(kDwarfChoice), std::end(kDwarfChoice),
                                           entry.symbol) != std::end(kDwarfChoice);
  });
  if (!chosen) entries.push_back({"DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT", "y"});
  return entries;
}

absl::StatusOr<RequestedConfig> ReadRequestedConfig(const KernelRequest& request) {
  RequestedConfig config;
  for (const ConfigFragment& fragment : request.fragments) {
    KDBG_ASSIGN_OR_RETURN(std::vector<ConfigEntry> entries,
                          ParseConfigText(fragment.text, fragment.name));
    config.requested.insert(config.requested.end(), entries.begin(), entries.end());
  }
  std::set<std::string> items;
  for (const std::string& item : request.config_items) {
    KDBG_ASSIGN_OR_RETURN(ConfigEntry entry, ParseConfigItem(item));
    for (const Mandatory& mandatory : MandatoryOf(request.architecture)) {
      if (!mandatory.required || mandatory.symbol != entry.symbol ||
          mandatory.value == entry.value) {
        continue;
      }
      return MakeError(
          absl::StatusCode::kInvalidArgument, Reason::kConfigInvalid,
          fmt::format("\"{}\" cannot be had: kernels are built here to be debugged, with \"{}\"; "
                      "drop it",
                      item, Wish(mandatory.symbol, mandatory.value)),
          {{"item", item}});
    }
    items.insert(entry.symbol);
    config.requested.push_back(std::move(entry));
  }
  config.requested = MergeEntries(config.requested);
  config.by_item = std::move(items);
  config.merged = config.requested;
  for (ConfigEntry& entry : MandatoryEntries(request.architecture, config.requested)) {
    config.merged.push_back(std::move(entry));
  }
  config.merged = MergeEntries(config.merged);
  return config;
}

absl::StatusOr<std::vector<ConfigEntry>> MergeUnder(std::span<const Era> eras,
                                                    const std::vector<ConfigEntry>& entries) {
  std::vector<ConfigEntry> merged;
  for (const std::string& item : TextsOf(eras, Era::Kind::kConfig)) {
    KDBG_ASSIGN_OR_RETURN(ConfigEntry entry, ParseConfigItem(item));
    merged.push_back(std::move(entry));
  }
  merged.insert(merged.end(), entries.begin(), entries.end());
  return MergeEntries(merged);
}

absl::Status VerifyConfig(const RequestedConfig& config, Architecture architecture,
                          const ConfigValues& values, const LoadKconfig& load) {
  std::set<std::string_view> settled;
  std::vector<ConfigEntry> wanted;
  for (const Mandatory& mandatory : MandatoryOf(architecture)) {
    settled.insert(mandatory.symbol);
    if (mandatory.required) {
      wanted.push_back({std::string(mandatory.symbol), std::string(mandatory.value)});
    }
  }
  // What the caller asked for is reported first: it is what a lost mandatory symbol follows from.
  std::vector<ConfigEntry> asked;
  for (const ConfigEntry& entry : config.requested) {
    if (!settled.contains(entry.symbol)) asked.push_back(entry);
  }
  wanted.insert(wanted.begin(), asked.begin(), asked.end());

  return VerifyEntries(wanted, config.by_item, values, load);
}

absl::Status VerifyEntries(const std::vector<ConfigEntry>& wanted,
                           const std::set<std::string>& by_item, const ConfigValues& values,
                           const LoadKconfig& load) {
  for (const ConfigEntry& entry : wanted) {
    const bool holds = values.Get(entry.symbol) == entry.value;
    // "n" of a symbol that does not exist holds, but in an item it is a mistyped name.
    if (holds && (values.Has(entry.symbol) || !by_item.contains(entry.symbol))) continue;
    KDBG_ASSIGN_OR_RETURN(const Kconfig* kconfig, load());
    if (!kconfig->Knows(entry.symbol)) return Unknown(entry, *kconfig);
    if (!holds) return Lost(entry, values, *kconfig);
  }
  return absl::OkStatus();
}

}  // namespace kdbg::build
