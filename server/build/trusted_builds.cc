#include "server/build/trusted_builds.h"

#include <fmt/format.h>

#include <utility>

#include "proto/support/status_macros.h"
#include "server/observe/log.h"

namespace kdbg::build {

absl::Status TrustedBuilds::KeepUp() {
  absl::MutexLock lock(&one_at_a_time_);
  KDBG_ASSIGN_OR_RETURN(const std::vector<source::SourceRecord> sources, sources_.List());
  absl::Status all;
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
