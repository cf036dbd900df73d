#include "server/vm/extra_devices.h"

#include <algorithm>
#include <iterator>

namespace kdbg::vm {
namespace {

// Without ROMs: nothing boots from them. The watchdog's action is QEMU's default, a reset.
constexpr ExtraDevice kDevices[] = {
    {.name = "edu", .device = "edu"},
    {.name = "e1000e", .device = "e1000e,romfile="},
    {.name = "i6300esb", .device = "i6300esb"},
    {.name = "pci-testdev", .device = "pci-testdev"},
    {.name = "rng", .device = "virtio-rng-pci"},
    {.name = "xhci", .device = "qemu-xhci"},
};

}  // namespace

std::span<const ExtraDevice> ExtraDevices() { return kDevices; }

const ExtraDevice* FindExtraDevice(std::string_view name) {
  const auto* found = std::find_if(std::begin(kDevices), std::end(kDevices),
                                   [&](const ExtraDevice& device) { return device.name == name; });
  return found == std::end(kDevices) ? nullptr : found;
}

}  // namespace kdbg::vm
