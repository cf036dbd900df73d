// The command line of bubblewrap for a sandbox: a pure function, because with bubblewrap the
// arguments are the policy.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "server/host/sandbox.h"

namespace kdbg::host {

// What of the host's /etc a build needs: named files and links, never a directory.
struct EtcView {
  std::vector<std::string> files;                          // the same path inside
  std::vector<std::pair<std::string, std::string>> links;  // path inside, target
};

// Of this host, below `root` ("/", or a test's directory). What is not there is left out.
EtcView FindEtcView(const std::filesystem::path& root);

// Generated files, so that the accounts and names of the host stay its own.
struct GeneratedFile {
  std::string inside;
  std::string content;
};
std::vector<GeneratedFile> GeneratedEtcFiles();

struct BubblewrapPlan {
  const Sandbox& sandbox;
  std::vector<std::string> sources;  // of each bind, in order, as bubblewrap finds it
  EtcView etc;
  std::vector<std::pair<int, std::string>> files;  // descriptor with the content, path inside
  int status_fd = -1;                              // bubblewrap reports on it as JSON
};

// Inside, everybody is uid and gid 1000 on the host "kdbg".
std::vector<std::string> BubblewrapArguments(const BubblewrapPlan& plan);

}  // namespace kdbg::host
