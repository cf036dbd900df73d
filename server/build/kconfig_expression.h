// Expressions of the Kconfig language: parsed from one line, evaluated against a finished config,
// and asked which part of them is not met. Pure.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/build/config_text.h"

namespace kdbg::build {

enum class Tristate { kNo = 0, kModule = 1, kYes = 2 };

class KconfigExpression {
 public:
  // nullptr for text that is no expression, or one that is absurdly deep. Macros, $(...), are taken
  // to be y: what they stand for is known to the tree's own tool only.
  static std::shared_ptr<const KconfigExpression> Parse(std::string_view text);
  static std::shared_ptr<const KconfigExpression> And(
      std::shared_ptr<const KconfigExpression> left,
      std::shared_ptr<const KconfigExpression> right);

  Tristate Evaluate(const ConfigValues& values) const;
  // The first part that keeps it from being `wanted`, as "CONFIG_NET=y"; nullopt when nothing does.
  std::optional<std::string> FirstUnmet(const ConfigValues& values, Tristate wanted) const;
  std::string ToString() const;

 private:
  enum class Kind {
    kWord,
    kText,
    kMacro,
    kAnd,
    kOr,
    kNot,
    kEqual,
    kUnequal,
    kLess,
    kGreater,
    kLessEqual,
    kGreaterEqual
  };
  class Parser;
  std::string_view Value(const ConfigValues& values) const;

  Kind kind_ = Kind::kWord;
  std::string word_;
  int depth_ = 1;  // bounded, since evaluation recurses and the text is a stranger's
  std::shared_ptr<const KconfigExpression> left_;
  std::shared_ptr<const KconfigExpression> right_;
};

using KconfigCondition = std::shared_ptr<const KconfigExpression>;

}  // namespace kdbg::build
