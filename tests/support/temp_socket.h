// A path for a unix socket in a folder of its own, removed afterwards.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace kdbg {

class TempSocket {
 public:
  TempSocket() {
    char directory[] = "/tmp/kdbg-gdb-XXXXXX";
    if (::mkdtemp(directory) != nullptr) directory_ = directory;
  }
  ~TempSocket() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  std::string path() const { return directory_ + "/stub"; }

 private:
  std::string directory_;
};

}  // namespace kdbg
