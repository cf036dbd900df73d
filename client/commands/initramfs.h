// `kdbgctl initramfs build`: a BusyBox root file system.
#pragma once

#include <string>
#include <vector>

#include "client/commands/context.h"

namespace kdbg::client {

struct InitramfsBuildOptions {
  std::string busybox;  // empty: the newest BusyBox source on the server
  std::string name;
  std::string architecture;
  std::string init;
  std::vector<std::string> overlays;  // tar files or directories
  std::vector<std::string> configs;   // files
  std::vector<std::string> config_items;
  std::string modules;
  std::string compression;
  bool is_private = false;
  std::vector<std::string> readers;
  bool detach = false;
  bool clean = false;
  bool skip_cache = false;
};

CommandEnd InitramfsBuild(Context& context, const InitramfsBuildOptions& options);

}  // namespace kdbg::client
