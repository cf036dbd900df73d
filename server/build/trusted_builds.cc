#include "server/build/trusted_builds.h"

#include <fmt/format.h>

#include <filesystem>
#include <iterator>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "proto/support/status_macros.h"
#include "server/observe/log.h"

namespace kdbg::build {
namespace {

constexpr int kPage = 100;

}  // namespace

absl::Status TrustedBuilds::KeepUp() {
  absl::MutexLock lock(&one_at_a_time_);
  KDBG_ASSIGN_OR_RETURN(const std::vector<source::SourceRecord> sources, sources_.List());
  absl::Status all = Withdraw(sources);
  all.Update(KeepWithinBounds());
  for (const source::SourceRecord& source : sources) {
    if (source.project == "linux") {
      for (const std::string& config : settings_.kernel_configs) {
        KernelRequest kernel;
        kernel.base_config = config;
        kernel.clean = true;
        all.Update(Ensure(source, {.display_name = fmt::format("trusted-{}", config),
                                   .workspace = {},
                                   .source_id = source.id,
                                   .spec = std::move(kernel),
                                   .request_id = {}}));
      }
    } else if (source.project == "busybox") {
      InitramfsRequest initramfs;
      initramfs.clean = true;
      all.Update(Ensure(source, {.display_name = "trusted-initramfs",
                                 .workspace = {},
                                 .source_id = source.id,
                                 .spec = std::move(initramfs),
                                 .request_id = {}}));
    }
  }
  return all;
}

absl::Status TrustedBuilds::Withdraw(const std::vector<source::SourceRecord>& trusted) {
  std::set<std::string_view> ids;
  std::set<std::string_view> trees;
  for (const source::SourceRecord& source : trusted) {
    ids.insert(source.id);
    trees.insert(source.tree);
  }
  absl::Status all;
  bool withdrawn = false;
  KDBG_ASSIGN_OR_RETURN(const std::vector<BuildRecord> builds, OwnBuilds());
  for (const BuildRecord& build : builds) {
    if (ids.contains(build.request.source_id)) continue;
    withdrawn = true;
    all.Update(Remove(build));
  }
  KDBG_ASSIGN_OR_RETURN(const std::vector<source::Seed> seeds, seeds_.List());
  for (const source::Seed& seed : seeds) {
    if (!trees.contains(seed.tree)) all.Update(seeds_.Delete(seed.id));
  }
  // Which of its entries came from where is not known.
  if (withdrawn) all.Update(workspaces_.ClearTrustedCcache());
  return all;
}

absl::Status TrustedBuilds::Retire(const source::SourceRecord& source) {
  absl::MutexLock lock(&one_at_a_time_);
  KDBG_ASSIGN_OR_RETURN(const std::vector<source::Seed> seeds, seeds_.List());
  for (const source::Seed& seed : seeds) {
    if (seed.tree == source.tree) KDBG_RETURN_IF_ERROR(seeds_.Delete(seed.id));
  }
  KDBG_ASSIGN_OR_RETURN(const std::vector<BuildRecord> builds, OwnBuilds());
  for (const BuildRecord& build : builds) {
    if (build.request.source_id == source.id) KDBG_RETURN_IF_ERROR(Remove(build));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<BuildRecord>> TrustedBuilds::OwnBuilds() const {
  Builds::ListQuery query{.owner = std::string(source::kTrustedOwner), .limit = kPage};
  std::vector<BuildRecord> all;
  for (;;) {
    KDBG_ASSIGN_OR_RETURN(std::vector<BuildRecord> page, builds_.List(query));
    const bool more = page.size() == kPage;
    if (more) query.before_sequence = page.back().sequence;
    std::move(page.begin(), page.end(), std::back_inserter(all));
    if (!more) return all;
  }
}

absl::Status TrustedBuilds::Remove(const BuildRecord& build) {
  if (!IsFinal(build.state)) KDBG_RETURN_IF_ERROR(builds_.Cancel(build.id).status());
  return builds_.Delete(build.id);
}

absl::Status TrustedBuilds::KeepWithinBounds() {
  KDBG_ASSIGN_OR_RETURN(const std::vector<source::Seed> least_used_first, seeds_.List());
  absl::Status all;
  for (std::size_t i = 0; i + settings_.most_seeds < least_used_first.size(); ++i) {
    const absl::Status deleted = seeds_.Delete(least_used_first[i].id);
    if (!absl::IsAborted(deleted)) all.Update(deleted);
  }
  std::int64_t cached = 0;
  std::error_code error;
  std::filesystem::recursive_directory_iterator entry(workspaces_.trusted_ccache_dir(), error);
  for (; !error && entry != std::filesystem::end(entry); entry.increment(error)) {
    std::error_code gone;
    if (entry->is_regular_file(gone)) {
      const std::uintmax_t size = entry->file_size(gone);
      if (!gone) cached += static_cast<std::int64_t>(size);
    }
  }
  if (cached > settings_.ccache_limit_mib << 20) all.Update(workspaces_.ClearTrustedCcache());
  return all;
}

absl::Status TrustedBuilds::Ensure(const source::SourceRecord& source, BuildRequest request) {
  KDBG_ASSIGN_OR_RETURN(const std::optional<BuildRecord> made,
                        builds_.FindSame(source::kTrustedOwner, request));
  if (made) return absl::OkStatus();
  const auto build = builds_.Create(source::kTrustedOwner, std::move(request));
  KDBG_RETURN_IF_ERROR(build.status());
  spdlog::info("builds/{} makes {} for everybody", build->id, source.origin.text);
  return absl::OkStatus();
}

}  // namespace kdbg::build
