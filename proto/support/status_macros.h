// Early return for absl::Status and absl::StatusOr; Abseil 20220623 ships none.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define KDBG_RETURN_IF_ERROR(expr)                                \
  do {                                                            \
    if (absl::Status kdbg_status_ = (expr); !kdbg_status_.ok()) { \
      return kdbg_status_;                                        \
    }                                                             \
  } while (false)

#define KDBG_MACRO_JOIN_INNER(a, b) a##b
#define KDBG_MACRO_JOIN(a, b) KDBG_MACRO_JOIN_INNER(a, b)

// KDBG_ASSIGN_OR_RETURN(auto x, Make()): a lhs with a comma in its type needs parentheses or a
// using.
#define KDBG_ASSIGN_OR_RETURN(lhs, expr) \
  KDBG_ASSIGN_OR_RETURN_INNER(KDBG_MACRO_JOIN(kdbg_result_, __LINE__), lhs, expr)
#define KDBG_ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                                \
  if (!result.ok()) {                                  \
    return std::move(result).status();                 \
  }                                                    \
  lhs = *std::move(result)
