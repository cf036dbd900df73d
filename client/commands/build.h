// `kdbgctl build ...`: the builds there are, their logs and their ends.
#pragma once

#include <cstdint>
#include <string>

#include "client/commands/context.h"

namespace kdbg::client {

enum class Owners { kMine, kAll };

struct BuildLogOptions {
  std::string build;
  bool follow = false;
  std::int64_t since_bytes = 0;
};

struct BuildShareOptions {
  std::string build;
  std::string user;
  bool take_back = false;
};

CommandEnd BuildList(Context& context, Owners owners);
CommandEnd BuildShow(Context& context, const std::string& build);
CommandEnd BuildWatch(Context& context, const std::string& build);
CommandEnd BuildLog(Context& context, const BuildLogOptions& options);
CommandEnd BuildCancel(Context& context, const std::string& build);
CommandEnd BuildShare(Context& context, const BuildShareOptions& options);
CommandEnd BuildDelete(Context& context, const std::string& build);

Details BuildDetails(const v1::Build& build);

}  // namespace kdbg::client
