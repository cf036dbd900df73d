#include <nlohmann/json.hpp>

#include "client/ide/ide_launch.h"

namespace kdbg::client {

std::string VscodeConfiguration(const IdeLaunch& launch) {
  // In the order in which people write it.
  const nlohmann::ordered_json configuration = {
      {"name", launch.name},
      {"type", "cppdbg"},
      {"request", "launch"},
      {"program", launch.vmlinux.string()},
      {"cwd", launch.tree.string()},
      {"MIMode", "gdb"},
      {"miDebuggerPath", launch.gdb},
      {"miDebuggerServerAddress", launch.target},
      // Else it lets the guest run as soon as it is there.
      {"stopAtConnect", true},
      {"setupCommands",
       {{{"description", "what kdbgctl sets in gdb"},
         {"text", "source " + launch.settings.string()},
         {"ignoreFailures", true}}}},
      {"sourceFileMap",
       {{launch.compiled_directory,
         {{"editorPath", launch.tree.string()}, {"useForBreakpoints", true}}}}},
  };
  return configuration.dump(4, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace kdbg::client
