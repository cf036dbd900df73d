#include "server/build/build_facts.h"

#include <string>
#include <string_view>

#include "server/build/outputs.h"

namespace kdbg::build {
namespace {

std::string_view NameOf(BuildPhase phase) {
  switch (phase) {
    case BuildPhase::kWaiting:
      return "wait";
    case BuildPhase::kCheckingOut:
      return "checkout";
    case BuildPhase::kConfiguring:
      return "configure";
    case BuildPhase::kCompiling:
      return "compile";
    case BuildPhase::kVerifying:
      return "verify";
    case BuildPhase::kPacking:
      return "pack";
    case BuildPhase::kPublishing:
      return "publish";
  }
  return "";
}

}  // namespace

CacheCounts ReadCacheCounts(const std::filesystem::path& build_directory) {
  const auto log = Outputs::Read(build_directory, ".kdbg/ccache.log");
  if (!log.ok()) return {};
  // One line a fact, after a comment that names the source file.
  const auto count = [&](std::string_view fact) {
    std::int64_t found = 0;
    for (std::size_t at = log->find(fact); at != std::string::npos; at = log->find(fact, at + 1)) {
      ++found;
    }
    return found;
  };
  return {.hits = count("\ndirect_cache_hit\n") + count("\npreprocessed_cache_hit\n"),
          .misses = count("\ncache_miss\n")};
}

JsonObject DurationsOf(const BuildRun& run) {
  JsonObject durations;
  for (const BuildRun::PhaseTime& time : run.PhaseTimes()) {
    durations.Number(NameOf(time.phase), absl::ToDoubleSeconds(time.duration));
  }
  return durations;
}

}  // namespace kdbg::build
