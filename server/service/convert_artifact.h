// Artifacts: records -> messages. Pure.
#pragma once

#include "kdbg/v1/artifact_service.pb.h"
#include "server/store/artifact_store.h"
#include "server/store/blob_store.h"

namespace kdbg::service {

// Knowing a digest is the right to read: only for callers who may see the artifact. `blobs`: where
// the bytes are.
v1::Artifact ToMessage(const store::Artifact& artifact, const store::BlobStore& blobs);

}  // namespace kdbg::service
