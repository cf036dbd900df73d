// What goes into an initramfs beside BusyBox: overlays that were uploaded, modules of a kernel
// build. Stateless.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/build/build_record.h"
#include "server/build/cpio_writer.h"

namespace kdbg::source {
class UploadStore;
}
namespace kdbg::store {
class ArtifactStore;
class BlobStore;
}  // namespace kdbg::store

namespace kdbg::build {

class BuildTable;

struct InitramfsSources {
  const source::UploadStore& uploads;
  const BuildTable& builds;
  const store::ArtifactStore& artifacts;
  const store::BlobStore& blobs;
};

// Fills in the digests of overlays and modules, and the compression where that kernel decides it.
//   FAILED_PRECONDITION  kUploadIncomplete; kWrongState: the kernel build has not succeeded, or has
//                        no modules
//   INVALID_ARGUMENT     the build made no kernel, or one for another architecture
//   NOT_FOUND            no such upload or build
absl::Status ResolveInputs(const InitramfsSources& sources, InitramfsRequest& request);

// The layers as they are to be laid over the tree: modules first, then overlays in order. Also
// FAILED_PRECONDITION (kWrongState) when something is gone since; errors as of ReadRootArchive.
absl::StatusOr<std::vector<std::vector<CpioEntry>>> ReadLayers(const InitramfsSources& sources,
                                                               const InitramfsRequest& request);

}  // namespace kdbg::build
