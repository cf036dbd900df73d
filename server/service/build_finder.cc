#include "server/service/build_finder.h"

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"

namespace kdbg::service {

absl::StatusOr<build::BuildRecord> FindBuild(const build::Builds& builds, const std::string& user,
                                             const std::string& name, std::string_view field) {
  KDBG_ASSIGN_OR_RETURN(const std::string id, ParseResourceName(kBuilds, name, field));
  absl::StatusOr<build::BuildRecord> build = builds.Get(id);
  if (absl::IsNotFound(build.status())) build = builds.FindByName(user, id);
  // The same words as for a hidden one.
  if (absl::IsNotFound(build.status())) return ResourceNotFound(ResourceName(kBuilds, id));
  return build;
}

}  // namespace kdbg::service
