#include "server/build/request_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <variant>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"
#include "server/build/build_job.h"
#include "server/build/kernel_builder.h"

namespace kdbg::build {
namespace {

bool IsDisplayName(std::string_view name) {
  return name.size() <= 63 && std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
                  c == '-';
         });
}

}  // namespace

absl::Status CheckRequest(const BuildRequest& request, const source::SourceRecord& source,
                          const source::ObjectDatabase& objects) {
  if (!IsDisplayName(request.display_name)) {
    return InvalidField("display_name", request.display_name,
                        "a build's name has at most 63 of the characters a-z, 0-9, dot, dash and "
                        "underscore");
  }
  KDBG_RETURN_IF_ERROR(CheckSpec(request));
  const std::string name = "sources/" + source.id;
  if (source.state != source::SourceState::kReady) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
        fmt::format("{} is not ready: wait for its import, or see why it failed", name),
        {{"resource", name}, {"state", "IMPORTING or FAILED"}});
  }
  const auto* kernel = std::get_if<KernelRequest>(&request.spec);
  const std::string_view wanted = kernel != nullptr ? "linux" : "busybox";
  if (source.project != wanted) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     kernel != nullptr ? Reason::kNotAKernelTree : Reason::kNotABusyboxTree,
                     fmt::format("{} ({}) is no {} source: name another", name, source.origin.text,
                                 kernel != nullptr ? "Linux kernel" : "BusyBox"),
                     {{"resource", name}, {"project", source.project}});
  }
  if (kernel != nullptr) {
    const std::string path = BaseConfigPath(*kernel);
    if (!path.empty() && !objects.ReadFile(source.tree, path).ok()) {
      return MakeError(absl::StatusCode::kNotFound, Reason::kResourceNotFound,
                       fmt::format("this source has no {}: see its arch/*/configs for what there "
                                   "is",
                                   path),
                       {{"resource", path}});
    }
  }
  return absl::OkStatus();
}

}  // namespace kdbg::build
