#include "server/build/kconfig_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

namespace kdbg::build {
namespace {

constexpr int kMaximumDepth = 64;
constexpr int kMaximumFiles = 20'000;
constexpr std::size_t kMaximumBytes = std::size_t{64} << 20;

std::string_view TrimLeft(std::string_view text) {
  const std::size_t start = text.find_first_not_of(" \t");
  return start == std::string_view::npos ? std::string_view() : text.substr(start);
}

std::string_view TrimRight(std::string_view text) {
  const std::size_t end = text.find_last_not_of(" \t\r");
  return end == std::string_view::npos ? std::string_view() : text.substr(0, end + 1);
}

int Indentation(std::string_view line) {
  int columns = 0;
  for (char c : line) {
    if (c == '\t') {
      columns = (columns & ~7) + 8;
    } else if (c == ' ') {
      ++columns;
    } else {
      break;
    }
  }
  return columns;
}

// Up to a # outside of quotes.
std::string_view WithoutComment(std::string_view line) {
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (quote != 0) {
      if (line[i] == '\\')
        ++i;
      else if (line[i] == quote)
        quote = 0;
    } else if (line[i] == '"' || line[i] == '\'') {
      quote = line[i];
    } else if (line[i] == '#') {
      return line.substr(0, i);
    }
  }
  return line;
}

// The text of a prompt is passed over; what follows is empty or "if ...".
std::string_view AfterQuoted(std::string_view text) {
  text = TrimLeft(text);
  if (text.empty() || (text[0] != '"' && text[0] != '\'')) return text;
  const char quote = text[0];
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\\')
      ++i;
    else if (text[i] == quote)
      return TrimLeft(text.substr(i + 1));
  }
  return {};
}

// "X if Y": Y, or nullptr.
KconfigCondition ConditionOf(std::string_view text) {
  const std::size_t at = text.find("if ");
  if (at == std::string_view::npos || (at > 0 && text[at - 1] != ' ' && text[at - 1] != '\t')) {
    return nullptr;
  }
  return KconfigExpression::Parse(text.substr(at + 3));
}

std::string_view FirstWord(std::string_view text) {
  return text.substr(0, text.find_first_of(" \t\""));
}

}  // namespace

absl::Status Kconfig::Reader::ReadRoot(const std::string& path) {
  absl::StatusOr<std::string> text = read_file_(path);
  if (!text.ok()) {
    return absl::FailedPreconditionError(
        fmt::format("cannot read {}: {}", path, text.status().ToString()));
  }
  return ReadLines(path, *text, 0);
}

absl::Status Kconfig::Reader::ReadSource(const std::string& path, int depth) {
  absl::StatusOr<std::string> text = read_file_(path);
  if (!text.ok()) return absl::OkStatus();
  return ReadLines(path, *text, depth);
}

// NOLINTNEXTLINE(misc-no-recursion): bounded by kMaximumDepth
absl::Status Kconfig::Reader::ReadLines(const std::string& path, std::string_view text, int depth) {
  bytes_ += text.size();
  if (++files_ > kMaximumFiles || bytes_ > kMaximumBytes || depth > kMaximumDepth) {
    return absl::ResourceExhaustedError("the Kconfig files of this tree have no end");
  }
  // A help text lasts while lines are indented like its first one, or deeper.
  bool in_help = false;
  int help_indentation = -1;
  std::string joined;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = TrimRight(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (in_help) {
      if (line.empty()) continue;
      if (help_indentation < 0) help_indentation = Indentation(line);
      if (help_indentation > 0 && Indentation(line) >= help_indentation) continue;
      in_help = false;
    }
    if (line.ends_with('\\')) {
      joined.append(line.substr(0, line.size() - 1)).append(" ");
      continue;
    }
    joined.append(line);
    const std::string whole = std::exchange(joined, std::string());
    const std::string_view statement = TrimRight(TrimLeft(WithoutComment(whole)));
    const std::string_view keyword = FirstWord(statement);
    if (keyword.empty()) continue;
    if (keyword == "help" || keyword == "---help---") {
      in_help = true;
      help_indentation = -1;
      continue;
    }
    if (absl::Status status =
            Statement(keyword, TrimLeft(statement.substr(keyword.size())), path, depth);
        !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// NOLINTNEXTLINE(misc-no-recursion)
absl::Status Kconfig::Reader::Statement(std::string_view keyword, std::string_view rest,
                                        const std::string& path, int depth) {
  if (keyword == "config" || keyword == "menuconfig") {
    StartSymbol(rest);
  } else if (keyword == "source" || keyword == "osource") {
    return Include(rest, path, depth, /*relative=*/false);
  } else if (keyword == "rsource" || keyword == "orsource") {
    return Include(rest, path, depth, /*relative=*/true);
  } else if (keyword == "menu") {
    symbol_ = nullptr;
    blocks_.push_back({Block::Kind::kMenu, nullptr});
  } else if (keyword == "if") {
    symbol_ = nullptr;
    blocks_.push_back({Block::Kind::kIf, KconfigExpression::Parse(rest)});
  } else if (keyword == "choice") {
    symbol_ = nullptr;
    blocks_.push_back({Block::Kind::kChoice, nullptr, static_cast<int>(kconfig_.choices_.size())});
    kconfig_.choices_.emplace_back();
  } else if (keyword == "endmenu") {
    EndBlock(Block::Kind::kMenu);
  } else if (keyword == "endif") {
    EndBlock(Block::Kind::kIf);
  } else if (keyword == "endchoice") {
    EndBlock(Block::Kind::kChoice);
  } else if (keyword == "comment") {
    comment_.definitions.assign(1, {});
    symbol_ = &comment_;
    symbol_name_.clear();
  } else {
    Attribute(keyword, rest);
  }
  return absl::OkStatus();
}

void Kconfig::Reader::StartSymbol(std::string_view name) {
  symbol_name_ = std::string(FirstWord(name));
  symbol_ = &kconfig_.symbols_[symbol_name_];
  Definition definition;
  definition.depends = Enclosing();
  // The innermost choice, unless its member is inside a menu of its own, which cannot be.
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
    if (block->kind == Block::Kind::kMenu) break;
    if (block->kind != Block::Kind::kChoice) continue;
    definition.choice = block->choice;
    kconfig_.choices_[block->choice].push_back(symbol_name_);
    break;
  }
  symbol_->definitions.push_back(std::move(definition));
}

bool Kconfig::Reader::TypeAttribute(std::string_view keyword, std::string_view rest) {
  Definition& definition = symbol_->definitions.back();
  if (keyword == "tristate" || keyword == "def_tristate") definition.tristate = true;
  if (keyword == "def_bool" || keyword == "def_tristate") return true;
  if (keyword != "bool" && keyword != "tristate" && keyword != "int" && keyword != "hex" &&
      keyword != "string" && keyword != "prompt") {
    return false;
  }
  if (rest.empty()) return true;
  definition.has_prompt = true;
  definition.prompt = ConditionOf(AfterQuoted(rest));
  return true;
}

void Kconfig::Reader::Attribute(std::string_view keyword, std::string_view rest) {
  if (keyword == "depends") {
    if (rest.starts_with("on")) Depend(rest.substr(2));
    return;
  }
  if (symbol_ == nullptr || TypeAttribute(keyword, rest)) return;
  if (keyword == "select" && !symbol_name_.empty()) {
    const std::string target(FirstWord(rest));
    // References into a map stay good while it grows.
    if (!target.empty()) {
      kconfig_.symbols_[target].selected_by.push_back({symbol_name_, ConditionOf(rest)});
    }
  }
}

void Kconfig::Reader::Depend(std::string_view text) {
  KconfigCondition condition = KconfigExpression::Parse(text);
  if (symbol_ != nullptr) {
    KconfigCondition& depends = symbol_->definitions.back().depends;
    depends = KconfigExpression::And(depends, condition);
  } else if (!blocks_.empty() && blocks_.back().kind != Block::Kind::kIf) {
    KconfigCondition& outer = blocks_.back().condition;
    outer = KconfigExpression::And(outer, condition);
  }
}

void Kconfig::Reader::EndBlock(Block::Kind kind) {
  symbol_ = nullptr;
  if (!blocks_.empty() && blocks_.back().kind == kind) blocks_.pop_back();
}

KconfigCondition Kconfig::Reader::Enclosing() const {
  KconfigCondition all;
  for (const Block& block : blocks_) all = KconfigExpression::And(all, block.condition);
  return all;
}

// NOLINTNEXTLINE(misc-no-recursion)
absl::Status Kconfig::Reader::Include(std::string_view rest, const std::string& path, int depth,
                                      bool relative) {
  symbol_ = nullptr;
  std::string_view quoted = rest;
  if (quoted.size() >= 2 && (quoted.front() == '"' || quoted.front() == '\'')) {
    quoted = quoted.substr(1, quoted.find(quoted.front(), 1) - 1);
  }
  std::string name = Expand(quoted);
  if (relative) {
    const std::size_t slash = path.rfind('/');
    if (slash != std::string::npos) name = path.substr(0, slash + 1) + name;
  }
  if (name.starts_with("./")) name.erase(0, 2);
  return ReadSource(name, depth + 1);
}

// $(NAME), ${NAME} and $NAME of the known variables; others stand for nothing.
std::string Kconfig::Reader::Expand(std::string_view text) const {
  std::string expanded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$') {
      expanded += text[i];
      continue;
    }
    std::size_t start = i + 1;
    std::size_t end = start;
    if (start < text.size() && (text[start] == '(' || text[start] == '{')) {
      end = text.find(text[start] == '(' ? ')' : '}', start);
      if (end == std::string_view::npos) break;
      ++start;
      i = end;
    } else {
      while (end < text.size() &&
             (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '_')) {
        ++end;
      }
      i = end - 1;
    }
    const auto found = variables_.find(std::string(text.substr(start, end - start)));
    if (found != variables_.end()) expanded += found->second;
  }
  return expanded;
}

}  // namespace kdbg::build
