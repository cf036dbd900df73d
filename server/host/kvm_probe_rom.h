// A guest of a few dozen bytes that goes from real mode through protected mode into 64-bit code,
// works there, takes an interrupt of its local APIC's timer, and says so on a port.
#pragma once

#include <cstdint>
#include <span>

namespace kdbg::host {

inline constexpr std::uint64_t kProbeRomAddress = 0x1000;  // where it must lie, and starts
inline constexpr std::uint64_t kProbeRomMemory = 0x20000;  // bytes of zeroed memory it needs from 0
inline constexpr std::uint16_t kProbeRomPort = 0xf4;
// What it writes to the port: in 64-bit code; after 30 million instructions of it; after the
// interrupt.
inline constexpr std::uint32_t kProbeRomLongMode = 0x11223344;
inline constexpr std::uint32_t kProbeRomWorked = 0x33445566;
inline constexpr std::uint32_t kProbeRomInterrupt = 0x55667788;

// Empty where the host is not x86-64.
std::span<const std::uint8_t> ProbeRom();

}  // namespace kdbg::host
