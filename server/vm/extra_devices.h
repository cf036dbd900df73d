// Devices that a session may have besides its own: each with nothing of the host's behind it.
#pragma once

#include <span>
#include <string_view>

namespace kdbg::vm {

// On a PCI bus; of every machine of ours.
struct ExtraDevice {
  std::string_view name;    // of kdbg.v1.Session.devices
  std::string_view device;  // QEMU's -device
};

// In the order of the alphabet.
std::span<const ExtraDevice> ExtraDevices();

// nullptr: there is none of that name.
const ExtraDevice* FindExtraDevice(std::string_view name);

}  // namespace kdbg::vm
