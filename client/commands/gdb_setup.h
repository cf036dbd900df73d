// What gdb on a session needs on this machine, whoever starts it: `kdbgctl gdb` or a development
// environment.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/commands/context.h"
#include "client/gdb/symbol_cache.h"

namespace kdbg::client {

struct GdbSetup {
  v1::Artifact kernel;
  Symbols symbols;
  std::string gdb;                  // the program for the kernel's architecture
  std::filesystem::path cache;      // of this user; what all sessions share
  std::filesystem::path directory;  // for files of this session: nobody else may write there
  std::filesystem::path loader;     // to be sourced for the lx- commands; empty: there are none
};

enum class TrustScripts { kOwnOnly, kAll };

// FAILED_PRECONDITION for a session that has ended.
absl::Status CheckLives(const v1::Session& session);

// Fetches symbols and, when they are the user's own or trusted, scripts; writes the loader.
absl::StatusOr<GdbSetup> SetUpGdb(Context& context, const v1::Session& session, TrustScripts trust);

enum class Hold { kIfFree, kTakeOver };

// What follows `target remote`. `socket`: of a companion (gdb_companion.h), if there is one.
absl::StatusOr<std::string> TargetOf(Context& context, const v1::Session& session, Hold hold,
                                     const std::filesystem::path& socket = {});

}  // namespace kdbg::client
