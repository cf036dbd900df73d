// What is in an initramfs, as entries in the order they are packed. Pure: the same input gives the
// same tree.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/build/cpio_writer.h"

namespace kdbg::build {

// Printed on the console by our own init once file systems are mounted, just before the shell.
inline constexpr std::string_view kReadyMarker = "kdbg: userspace is up";

struct InitramfsContent {
  std::string busybox;
  std::string links;  // text of busybox.links: one absolute path a line
  std::string init;   // replaces ours when not empty
  // Laid over it in order: modules, overlays. A later entry of a path replaces an earlier
  // one; a folder keeps what is in it. Missing folders are made.
  std::vector<std::vector<CpioEntry>> layers = {};
};

// FAILED_PRECONDITION when `links` names something that is no path of a program; INVALID_ARGUMENT
// (kArchiveUnsafeMember) when a layer puts something below what is no folder, or something else in
// the place of a folder that is not empty.
absl::StatusOr<std::vector<CpioEntry>> InitramfsTree(InitramfsContent content);

// The script that is process 1 unless the caller brings another.
std::string_view InitScript();

}  // namespace kdbg::build
