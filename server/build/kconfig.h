// What a tree's Kconfig files say of each symbol, read only to explain: which symbol a config lacks
// for another one to be possible, which names there are. The tree's own tool decides everything.
//
// Reads text from strangers: bounded, and loose where the language is richer than this needs.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/build/config_text.h"
#include "server/build/kconfig_expression.h"

namespace kdbg::build {

class Kconfig {
 public:
  // The content of a file below the root of the tree.
  using ReadFile = std::function<absl::StatusOr<std::string>(const std::string& path)>;

  // From the file named Kconfig (or Config.in) on. `variables`: SRCARCH and the like, for `source`
  // lines. Files that a `source` line names and that are not there are passed over;
  // kFailedPrecondition when the first one is not there, kResourceExhausted when there is no end to
  // them.
  static absl::StatusOr<Kconfig> Read(const std::string& root,
                                      const std::map<std::string, std::string>& variables,
                                      const ReadFile& read_file);

  bool Knows(std::string_view symbol) const { return symbols_.find(symbol) != symbols_.end(); }
  // The known name most like `symbol`; empty when none is near.
  std::string Nearest(std::string_view symbol) const;

  // Why `symbol` has not become `wanted` in a finished config.
  struct Cause {
    std::string dependency;   // "CONFIG_NET=y"; empty when the files give no reason
    std::string explanation;  // "it needs CONFIG_NET=y, which is not set"
  };
  Cause Explain(std::string_view symbol, std::string_view wanted, const ConfigValues& values) const;

 private:
  class Reader;

  // One `config` block.
  struct Definition {
    KconfigCondition depends;  // its own and those of the blocks around it; may be nullptr
    KconfigCondition prompt;   // `if` of its prompt; may be nullptr
    bool has_prompt = false;
    bool tristate = false;
    int choice = -1;  // number of the choice it is a member of
  };
  struct Selection {
    std::string selector;
    KconfigCondition condition;  // may be nullptr
  };
  struct Symbol {
    std::vector<Definition> definitions;
    std::vector<Selection> selected_by;
  };

  Cause ExplainUnset(std::string_view symbol, Tristate wanted, const ConfigValues& values) const;
  Cause ExplainSet(std::string_view symbol, const ConfigValues& values) const;

  std::map<std::string, Symbol, std::less<>> symbols_;
  std::vector<std::vector<std::string>> choices_;  // members of each
};

}  // namespace kdbg::build
