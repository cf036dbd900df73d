// The daemon's log: one line an event on stderr, which systemd's journal keeps.
//
// Thread-safe. Log once, where an error is handled; layers that pass an error up do not log it.
#pragma once

#include <spdlog/spdlog.h>

#include <string_view>

#include "absl/status/status.h"

namespace kdbg::observe {

// Sets level ("debug", "info", "warning", "error") and form. INVALID_ARGUMENT for another level.
absl::Status StartLog(std::string_view level);

// Whether systemd reads it into the journal.
bool StderrIsTheJournal();

}  // namespace kdbg::observe
