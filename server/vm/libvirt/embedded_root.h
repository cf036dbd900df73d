// The directory that a "qemu:///embed?root=DIR" hypervisor lives in.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "absl/status/status.h"

namespace kdbg::vm {

// DIR of an embed URI; nullopt for any other URI.
std::optional<std::filesystem::path> EmbeddedRoot(std::string_view uri);

// Makes the directory (0711: QEMU runs under another uid), writes libvirt's qemu.conf into it, and
// drops what a driver that was killed left there of machines that it had not started yet. No driver
// lives in it meanwhile.
//   INVALID_ARGUMENT  kFieldInvalid: not absolute, or so long that libvirt's sockets in it would
//   not fit
absl::Status PrepareEmbeddedRoot(const std::filesystem::path& root);

}  // namespace kdbg::vm
