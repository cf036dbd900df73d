// A folder that goes with its test.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "proto/support/unique_fd.h"

namespace kdbg::source {

class TempDirTest : public ::testing::Test {
 protected:
  TempDirTest() {
    std::signal(SIGPIPE, SIG_IGN);  // as the daemon does
    std::string name = ::testing::TempDir() + "kdbg-source-XXXXXX";
    directory_ = ::mkdtemp(name.data());
  }
  ~TempDirTest() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path WriteFile(const std::string& name, std::string_view bytes) {
    const std::filesystem::path path = directory_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  static UniqueFd OpenFile(const std::filesystem::path& path) {
    return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }

  std::filesystem::path directory_;
};

}  // namespace kdbg::source
