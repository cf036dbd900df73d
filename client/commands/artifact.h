// `kdbgctl artifact ...`: what builds left behind.
#pragma once

#include <string>
#include <vector>

#include "client/commands/build.h"
#include "client/commands/context.h"

namespace kdbg::client {

struct ArtifactGetOptions {
  std::string artifact;
  std::vector<std::string> files;  // none: all
  // The file to write when one is named and this is no directory; else the directory. Empty: ./ for
  // named files, ./ID for all.
  std::string destination;
  bool to_stdout = false;
};

Details ArtifactDetails(const v1::Artifact& artifact);

CommandEnd ArtifactList(Context& context, Owners owners);
CommandEnd ArtifactShow(Context& context, const std::string& artifact);
CommandEnd ArtifactGet(Context& context, const ArtifactGetOptions& options);
CommandEnd ArtifactPin(Context& context, const std::string& artifact);
CommandEnd ArtifactUnpin(Context& context, const std::string& artifact);
CommandEnd ArtifactDelete(Context& context, const std::string& artifact);

struct ArtifactPruneOptions {
  bool dry_run = false;
  Owners owners = Owners::kMine;
  std::string unused_for;  // "72h"; empty: as the server does by itself
};
CommandEnd ArtifactPrune(Context& context, const ArtifactPruneOptions& options);

}  // namespace kdbg::client
