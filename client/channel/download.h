// Artifact files onto this machine: resumed after a broken connection, checked against their
// digest, there completely or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "client/channel/server.h"
#include "client/terminal/interrupt.h"

namespace kdbg::client {

// INVALID_ARGUMENT for a path that would leave the directory it is put below; servers are not
// trusted with that.
absl::Status CheckRelativePath(const std::string& path);

// The file of this host that already holds the bytes; empty when there is none that we may read.
std::filesystem::path ReadableInPlace(const Server& server, const v1::ArtifactFile& file);

using OnBytes = std::function<void(std::int64_t received)>;

// A file on this machine that is much like the one to fetch: only the difference travels.
struct BaseFile {
  std::filesystem::path path;
  std::string sha256;
};

// Hands over the bytes of a file in order. DATA_LOSS when they do not match the digest. Compressed
// on the way unless the server is this host.
absl::Status ReadArtifactFile(Server& server, Interrupt& interrupt, const std::string& artifact,
                              const v1::ArtifactFile& file,
                              const std::function<absl::Status(std::string_view)>& consume,
                              const std::optional<BaseFile>& base = std::nullopt);

// Writes it to `destination` through a temporary sibling and a rename; makes directories as needed.
absl::Status DownloadFile(Server& server, Interrupt& interrupt, const std::string& artifact,
                          const v1::ArtifactFile& file, const std::filesystem::path& destination,
                          const OnBytes& on_bytes,
                          const std::optional<BaseFile>& base = std::nullopt);

}  // namespace kdbg::client
