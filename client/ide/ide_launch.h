// Launch configurations of development environments that drive gdb: text for their files. Pure.
#pragma once

#include <filesystem>
#include <string>

namespace kdbg::client {

struct IdeLaunch {
  std::string name;                // of the configuration, as its user sees it
  std::string gdb;                 // the program
  std::filesystem::path settings;  // gdb commands, to be sourced before gdb reads any file
  std::filesystem::path vmlinux;
  std::string target;              // what follows `target remote`
  std::string compiled_directory;  // where the source was when it was compiled
  std::filesystem::path tree;      // where its user has it
};

// One of the `configurations` in VS Code's launch.json, for Microsoft's C/C++ extension.
std::string VscodeConfiguration(const IdeLaunch& launch);

// A .launch file of Eclipse CDT's "GDB Hardware Debugging": the one kind of launch that connects to
// something which runs already, and starts, loads and chooses nothing.
std::string EclipseLaunch(const IdeLaunch& launch);

// A .run.xml file of CLion's "Remote Debug". It has no place for gdb commands: `launch.gdb` must
// read the settings by itself.
std::string ClionRunConfiguration(const IdeLaunch& launch);

}  // namespace kdbg::client
