// `kdbgctl kernel menuconfig`: the source's own menuconfig on this terminal, and what it saved in a
// file here.
#pragma once

#include <string>

#include "client/commands/context.h"
#include "client/commands/kernel.h"

namespace kdbg::client {

struct MenuconfigOptions {
  KernelBuildOptions kernel;  // what of it decides a config
  std::string output = ".config";
  bool nconfig = false;
};

CommandEnd Menuconfig(Context& context, const MenuconfigOptions& options);

}  // namespace kdbg::client
