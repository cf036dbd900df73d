// Reads Kconfig files into a Kconfig. Internal to it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/build/kconfig.h"

namespace kdbg::build {

class Kconfig::Reader {
 public:
  Reader(Kconfig& kconfig, const std::map<std::string, std::string>& variables,
         const ReadFile& read_file)
      : kconfig_(kconfig), variables_(variables), read_file_(read_file) {}

  absl::Status ReadRoot(const std::string& path);

 private:
  // menu, if and choice blocks that are open.
  struct Block {
    enum class Kind { kMenu, kIf, kChoice } kind;
    KconfigCondition condition;  // of everything inside; may be nullptr
    int choice = -1;
  };

  absl::Status ReadSource(const std::string& path, int depth);
  absl::Status ReadLines(const std::string& path, std::string_view text, int depth);
  absl::Status Statement(std::string_view keyword, std::string_view rest, const std::string& path,
                         int depth);
  void Attribute(std::string_view keyword, std::string_view rest);
  bool TypeAttribute(std::string_view keyword, std::string_view rest);
  void StartSymbol(std::string_view name);
  void Depend(std::string_view text);
  void EndBlock(Block::Kind kind);
  absl::Status Include(std::string_view rest, const std::string& path, int depth, bool relative);
  KconfigCondition Enclosing() const;
  std::string Expand(std::string_view text) const;

  Kconfig& kconfig_;
  const std::map<std::string, std::string>& variables_;
  const ReadFile& read_file_;
  std::vector<Block> blocks_;
  // Where attributes go: the current symbol's last definition, or the innermost block.
  Symbol* symbol_ = nullptr;
  Symbol comment_;  // what a `comment` depends on concerns nobody else
  std::string symbol_name_;
  int files_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace kdbg::build
