// Whether a kernel image with symbols is one that gdb can use: it has a build id, DWARF, and a line
// table that covers start_kernel. Stateless; reads an ELF file somebody else's build made.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"

namespace kdbg::build {

struct VmlinuxFacts {
  std::string gnu_build_id;  // hex
  std::uint64_t start_kernel = 0;
  std::string start_kernel_file;  // as in the line table: "/src/init/main.c"
  int start_kernel_line = 0;
};

// FAILED_PRECONDITION (kNoDebugInformation) saying what is missing.
absl::StatusOr<VmlinuxFacts> CheckVmlinux(const UniqueFd& vmlinux);

// Of an ELF file, hex; empty when it has none, or is no ELF file.
std::string GnuBuildIdOf(const UniqueFd& file);

// FAILED_PRECONDITION unless it is an ELF program that needs no dynamic loader.
absl::Status CheckStaticProgram(const UniqueFd& program);

}  // namespace kdbg::build
