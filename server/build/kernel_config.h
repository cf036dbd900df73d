// The config of a kernel build: what is built in, what the caller asked for, what a debugger needs,
// and whether all of it survived. Stateless.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/contract/architecture.h"
#include "server/build/build_record.h"
#include "server/build/config_text.h"
#include "server/build/eras.h"
#include "server/build/kconfig.h"

namespace kdbg::build {

// The base `tiny`: preset for allnoconfig, so that nothing comes in that is not named. A kernel
// that compiles in a few minutes and can do what guests here are made for.
std::string_view TinyFragment();

// What every kernel here is built with. `requested` may choose the kind of DWARF.
std::vector<ConfigEntry> MandatoryEntries(Architecture architecture,
                                          const std::vector<ConfigEntry>& requested);

struct RequestedConfig {
  std::vector<ConfigEntry> requested;  // fragments and items, one entry per symbol
  std::set<std::string> by_item;       // symbols that came as an item
  std::vector<ConfigEntry> merged;     // the same with the mandatory ones over them
};

// INVALID_ARGUMENT (kConfigInvalid) naming the fragment and line, or the item.
absl::StatusOr<RequestedConfig> ReadRequestedConfig(const KernelRequest& request);

// `entries` over what the source's era takes, which gives way to them.
absl::StatusOr<std::vector<ConfigEntry>> MergeUnder(std::span<const Era> eras,
                                                    const std::vector<ConfigEntry>& entries);

// Reads the tree's Kconfig files, when an explanation is needed.
using LoadKconfig = std::function<absl::StatusOr<const Kconfig*>()>;

// Whether everything is in the finished config, the mandatory ones too. INVALID_ARGUMENT:
// kConfigSymbolUnknown with a name that is near, kConfigSymbolLost with the dependency that is not
// met.
absl::Status VerifyConfig(const RequestedConfig& config, Architecture architecture,
                          const ConfigValues& values, const LoadKconfig& load);
// The same for these entries. `by_item`: symbols that have to exist even when they are to be n.
absl::Status VerifyEntries(const std::vector<ConfigEntry>& wanted,
                           const std::set<std::string>& by_item, const ConfigValues& values,
                           const LoadKconfig& load);

}  // namespace kdbg::build
