// What every metadata.json says of how a build went. Stateless.
#pragma once

#include <cstdint>
#include <filesystem>

#include "server/build/build_run.h"
#include "server/build/json_writer.h"

namespace kdbg::build {

struct CacheCounts {
  std::int64_t hits = 0;
  std::int64_t misses = 0;
};

// From the statistics that ccache left in the build directory; zeros when there are none.
CacheCounts ReadCacheCounts(const std::filesystem::path& build_directory);

// Seconds in each phase so far.
JsonObject DurationsOf(const BuildRun& run);

}  // namespace kdbg::build
