// libvirt's description of one of our machines, as text. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "server/vm/hypervisor.h"

namespace kdbg::vm {

// The XML namespace of what we keep in a domain's metadata; the mark that a domain is ours.
inline constexpr char kMetadataNamespace[] = "https://kdbg.dev/xmlns/domain/1";

// The domain of `spec`, as small as a kernel to be debugged needs it: direct kernel boot, serial
// console, panic device, vmcoreinfo, gdb stub, a network, a disk, a folder and extra devices when
// asked for; no graphics, USB or balloon. `instance` tells one kdbgd's domains from another's.
std::string DomainXml(const DomainSpec& spec, std::string_view instance);

struct DomainMetadata {
  std::string instance;
  std::string owner;
};
// From the metadata element as libvirt gives it back; nullopt when it is not ours.
std::optional<DomainMetadata> ParseDomainMetadata(std::string_view element);

}  // namespace kdbg::vm
