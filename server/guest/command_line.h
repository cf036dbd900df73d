// The kernel command line of a guest, composed and checked. Pure.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "proto/contract/architecture.h"

namespace kdbg::guest {

// Whether the kernel runs where System.map says, or where it likes.
enum class BaseAddress { kLinked, kRandomized };

inline constexpr std::size_t kMaxKernelArguments = 1024;

// `extra` comes last, so that it wins over ours.
//   INVALID_ARGUMENT  kFieldInvalid: longer than kMaxKernelArguments, or with a NUL, newline or
//   other control character
absl::StatusOr<std::string> ComposeCommandLine(Architecture architecture, BaseAddress base_address,
                                               std::string_view extra);

}  // namespace kdbg::guest
