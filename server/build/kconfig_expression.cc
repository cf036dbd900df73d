#include "server/build/kconfig_expression.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace kdbg::build {
namespace {

constexpr int kMaximumParentheses = 64;
constexpr int kMaximumDepth = 1000;

Tristate FromValue(std::string_view value) {
  if (value == "y") return Tristate::kYes;
  if (value == "m") return Tristate::kModule;
  return Tristate::kNo;
}

bool IsWordCharacter(unsigned char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.' || c == '/';
}

bool IsConstant(std::string_view word) {
  return word == "y" || word == "m" || word == "n" ||
         (!word.empty() && word[0] >= '0' && word[0] <= '9') || word.starts_with('-');
}

// Symbols are numbers where both sides read as numbers, else text, as the tree's own tool has it.
int Compare(std::string_view left, std::string_view right) {
  const std::string l(left), r(right);
  char* l_end = nullptr;
  char* r_end = nullptr;
  const long long l_number = std::strtoll(l.c_str(), &l_end, 0);
  const long long r_number = std::strtoll(r.c_str(), &r_end, 0);
  if (!l.empty() && !r.empty() && *l_end == '\0' && *r_end == '\0') {
    return l_number < r_number ? -1 : l_number > r_number;
  }
  return l.compare(r);
}

}  // namespace

class KconfigExpression::Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::shared_ptr<const KconfigExpression> Whole() {
    auto expression = Or(0);
    Skip();
    return at_ == text_.size() ? expression : nullptr;
  }

 private:
  using Node = std::shared_ptr<const KconfigExpression>;

  void Skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  bool Take(std::string_view token) {
    Skip();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  static Node Make(Kind kind, std::string word, Node left = nullptr, Node right = nullptr) {
    auto node = std::make_shared<KconfigExpression>();
    node->kind_ = kind;
    node->word_ = std::move(word);
    node->depth_ = 1 + std::max(left ? left->depth_ : 0, right ? right->depth_ : 0);
    if (node->depth_ > kMaximumDepth) return nullptr;
    node->left_ = std::move(left);
    node->right_ = std::move(right);
    return node;
  }

  // NOLINTNEXTLINE(misc-no-recursion): bounded by kMaximumParentheses
  Node Or(int depth) {
    Node left = And(depth);
    while (left && Take("||")) {
      Node right = And(depth);
      left = right ? Make(Kind::kOr, "", left, right) : nullptr;
    }
    return left;
  }
  // NOLINTNEXTLINE(misc-no-recursion)
  Node And(int depth) {
    Node left = Unary(depth);
    while (left && Take("&&")) {
      Node right = Unary(depth);
      left = right ? Make(Kind::kAnd, "", left, right) : nullptr;
    }
    return left;
  }
  // NOLINTNEXTLINE(misc-no-recursion)
  Node Unary(int depth) {
    if (depth > kMaximumParentheses) return nullptr;
    Skip();
    if (!text_.substr(at_).starts_with("!=") && Take("!")) {
      Node operand = Unary(depth + 1);
      return operand ? Make(Kind::kNot, "", operand) : nullptr;
    }
    if (Take("(")) {
      Node inside = Or(depth + 1);
      return inside && Take(")") ? inside : nullptr;
    }
    Node left = Word();
    if (!left) return nullptr;
    for (auto [token, kind] : {std::pair{"!=", Kind::kUnequal},
                               {"<=", Kind::kLessEqual},
                               {">=", Kind::kGreaterEqual},
                               {"=", Kind::kEqual},
                               {"<", Kind::kLess},
                               {">", Kind::kGreater}}) {
      if (!Take(token)) continue;
      Node right = Word();
      return right ? Make(kind, "", left, right) : nullptr;
    }
    return left;
  }
  Node Word() {
    Skip();
    if (at_ >= text_.size()) return nullptr;
    if (text_[at_] == '"' || text_[at_] == '\'') return Quoted();
    if (text_.substr(at_).starts_with("$(")) return Macro();
    const std::size_t start = at_;
    while (at_ < text_.size() && IsWordCharacter(static_cast<unsigned char>(text_[at_]))) ++at_;
    if (at_ == start) return nullptr;
    return Make(Kind::kWord, std::string(text_.substr(start, at_ - start)));
  }
  Node Quoted() {
    const std::size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string_view::npos) return nullptr;
    const std::string_view inside = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    if (inside.starts_with("$")) return Make(Kind::kMacro, std::string(inside));
    return Make(Kind::kText, std::string(inside));
  }
  Node Macro() {
    const std::size_t start = at_;
    int depth = 0;
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '(') ++depth;
      if (text_[at_] == ')' && --depth == 0) {
        ++at_;
        return Make(Kind::kMacro, std::string(text_.substr(start, at_ - start)));
      }
    }
    return nullptr;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

KconfigCondition KconfigExpression::Parse(std::string_view text) { return Parser(text).Whole(); }

KconfigCondition KconfigExpression::And(KconfigCondition left, KconfigCondition right) {
  if (!left) return right;
  if (!right || left->depth_ + right->depth_ > kMaximumDepth) return left;
  auto node = std::make_shared<KconfigExpression>();
  node->kind_ = Kind::kAnd;
  node->depth_ = 1 + std::max(left->depth_, right->depth_);
  node->left_ = std::move(left);
  node->right_ = std::move(right);
  return node;
}

std::string_view KconfigExpression::Value(const ConfigValues& values) const {
  std::string_view value = word_;
  if (kind_ == Kind::kWord && !IsConstant(word_)) value = values.Get(word_);
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
    value = value.substr(1, value.size() - 2);
  }
  return value;
}

// NOLINTNEXTLINE(misc-no-recursion): as deep as the parser allowed
Tristate KconfigExpression::Evaluate(const ConfigValues& values) const {
  const auto truth = [](bool holds) { return holds ? Tristate::kYes : Tristate::kNo; };
  switch (kind_) {
    case Kind::kWord:
    case Kind::kText:
      return FromValue(Value(values));
    case Kind::kMacro:
      return Tristate::kYes;
    case Kind::kAnd:
      return std::min(left_->Evaluate(values), right_->Evaluate(values));
    case Kind::kOr:
      return std::max(left_->Evaluate(values), right_->Evaluate(values));
    case Kind::kNot:
      return static_cast<Tristate>(2 - static_cast<int>(left_->Evaluate(values)));
    default:
      break;
  }
  if (left_->kind_ == Kind::kMacro || right_->kind_ == Kind::kMacro) return Tristate::kYes;
  const int order = Compare(left_->Value(values), right_->Value(values));
  switch (kind_) {
    case Kind::kEqual:
      return truth(order == 0);
    case Kind::kUnequal:
      return truth(order != 0);
    case Kind::kLess:
      return truth(order < 0);
    case Kind::kGreater:
      return truth(order > 0);
    case Kind::kLessEqual:
      return truth(order <= 0);
    default:
      return truth(order >= 0);
  }
}

// NOLINTNEXTLINE(misc-no-recursion)
std::optional<std::string> KconfigExpression::FirstUnmet(const ConfigValues& values,
                                                         Tristate wanted) const {
  if (Evaluate(values) >= wanted) return std::nullopt;
  switch (kind_) {
    case Kind::kWord:
      return fmt::format("CONFIG_{}=y", word_);
    case Kind::kAnd:
      if (auto unmet = left_->FirstUnmet(values, wanted)) return unmet;
      return right_->FirstUnmet(values, wanted);
    case Kind::kOr:
      return fmt::format("{} or {}", left_->FirstUnmet(values, wanted).value_or("?"),
                         right_->FirstUnmet(values, wanted).value_or("?"));
    case Kind::kNot:
      if (left_->kind_ == Kind::kWord) return fmt::format("CONFIG_{}=n", left_->word_);
      return ToString();
    default:
      return ToString();
  }
}

// NOLINTNEXTLINE(misc-no-recursion)
std::string KconfigExpression::ToString() const {
  const auto joined = [&](std::string_view sign) {
    return fmt::format("{}{}{}", left_->ToString(), sign, right_->ToString());
  };
  switch (kind_) {
    case Kind::kWord:
      return IsConstant(word_) ? word_ : "CONFIG_" + word_;
    case Kind::kText:
      return fmt::format("\"{}\"", word_);
    case Kind::kMacro:
      return word_;
    case Kind::kAnd:
      return joined(" && ");
    case Kind::kOr:
      return fmt::format("({})", joined(" || "));
    case Kind::kNot:
      return fmt::format("!({})", left_->ToString());
    case Kind::kEqual:
      return joined("=");
    case Kind::kUnequal:
      return joined("!=");
    case Kind::kLess:
      return joined("<");
    case Kind::kGreater:
      return joined(">");
    case Kind::kLessEqual:
      return joined("<=");
    case Kind::kGreaterEqual:
      return joined(">=");
  }
  return "";
}

}  // namespace kdbg::build
