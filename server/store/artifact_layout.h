// Names in artifacts that whoever makes them and whoever uses them agree on.
#pragma once

namespace kdbg::store {

// Followed by .gz or .zst when it is packed.
inline constexpr char kInitramfsFile[] = "initramfs.cpio";
// Of a kernel: lib/modules/RELEASE, stripped, with what depmod makes.
inline constexpr char kModulesFile[] = "modules.tar";
// Of a kernel: its modules with debug information lie below, as in the build directory.
inline constexpr char kModulesFolder[] = "modules/";

// Attribute of a kernel: how an initramfs may be packed for it, as "gzip zstd".
inline constexpr char kUnpacksAttribute[] = "unpacks";
// Attribute of a kernel: which devices of a session it drives, as "net disk folder", or "nothing".
inline constexpr char kDrivesAttribute[] = "drives";
// Attribute of an initramfs: "none", "gzip" or "zstd".
inline constexpr char kPackedAttribute[] = "packed";
// Attribute of an initramfs: "1" when our own init is in it, which says when it is up.
inline constexpr char kAnnouncesAttribute[] = "announces";

}  // namespace kdbg::store
