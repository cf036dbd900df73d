#include "client/ide/launch_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "proto/support/status_macros.h"

namespace kdbg::client {
namespace {

constexpr int kMaximumDepth = 100;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Where a value stands in the text.
struct Value {
  enum class Kind { kObject, kArray, kString, kOther } kind = Kind::kOther;
  std::size_t begin = 0;
  std::size_t end = 0;
  // Of an object or array: its values in order. Of an object: their names, as they are written.
  std::vector<Value> items = {};
  std::vector<std::string_view> names = {};
  bool trailing_comma = false;
};

// Reads as much of the grammar as it takes to know where every value begins and ends.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {
    if (text_.substr(0, kByteOrderMark.size()) == kByteOrderMark) at_ = kByteOrderMark.size();
  }

  // nullopt: there is nothing but space and comments.
  absl::StatusOr<std::optional<Value>> Document() {
    KDBG_RETURN_IF_ERROR(SkipSpace());
    if (at_ == text_.size()) return std::nullopt;
    KDBG_ASSIGN_OR_RETURN(Value value, Read(0));
    KDBG_RETURN_IF_ERROR(SkipSpace());
    if (at_ != text_.size()) return Wrong("the end of the file");
    return value;
  }

  absl::Status Wrong(std::string_view expected) const { return WrongAt(at_, expected); }
  absl::Status WrongAt(std::size_t at, std::string_view expected) const {
    const auto line =
        std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    return absl::InvalidArgumentError(
        fmt::format("line {}: there should be {}", line + 1, expected));
  }

 private:
  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  absl::Status SkipSpace() {
    for (;;) {
      at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size());
      const std::string_view start = text_.substr(at_, 2);
      if (start == "//") {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (start == "/*") {
        const std::size_t end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos) return Wrong("an end to this comment");
        at_ = end + 2;
      } else {
        return absl::OkStatus();
      }
    }
  }

  absl::StatusOr<Value> Read(int depth) {
    if (depth > kMaximumDepth) return Wrong("less nesting");
    if (Peek() == '{') return ReadList(Value::Kind::kObject, '}', depth);
    if (Peek() == '[') return ReadList(Value::Kind::kArray, ']', depth);
    if (Peek() == '"') return ReadString();
    const std::size_t end = std::min(text_.find_first_of(" \t\r\n,:{}[]\"/", at_), text_.size());
    if (end == at_) return Wrong("a value");
    return Value{.kind = Value::Kind::kOther, .begin = std::exchange(at_, end), .end = end};
  }

  absl::StatusOr<Value> ReadString() {
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != '"' && text_[end] != '\n') {
      end += text_[end] == '\\' ? 2 : 1;
    }
    if (end >= text_.size() || text_[end] != '"') return Wrong("an end to this string");
    ++end;
    return Value{.kind = Value::Kind::kString, .begin = std::exchange(at_, end), .end = end};
  }

  absl::StatusOr<Value> ReadList(Value::Kind kind, char closing, int depth) {
    Value list{.kind = kind, .begin = at_++};
    for (;;) {
      KDBG_RETURN_IF_ERROR(SkipSpace());
      if (Peek() == closing) break;
      if (!list.items.empty() && !list.trailing_comma) {
        return Wrong(fmt::format("',' or '{}'", closing));
      }
      if (kind == Value::Kind::kObject) {
        if (Peek() != '"') return Wrong("a name in quotes");
        KDBG_ASSIGN_OR_RETURN(const Value name, ReadString());
        list.names.push_back(text_.substr(name.begin + 1, name.end - name.begin - 2));
        KDBG_RETURN_IF_ERROR(SkipSpace());
        if (Peek() != ':') return Wrong("':'");
        ++at_;
        KDBG_RETURN_IF_ERROR(SkipSpace());
      }
      KDBG_ASSIGN_OR_RETURN(Value item, Read(depth + 1));
      list.items.push_back(std::move(item));
      KDBG_RETURN_IF_ERROR(SkipSpace());
      list.trailing_comma = Peek() == ',';
      if (list.trailing_comma) ++at_;
    }
    list.end = ++at_;
    return list;
  }

  const std::string_view text_;
  std::size_t at_ = 0;
};

const Value* Find(const Value& object, std::string_view name) {
  for (std::size_t i = 0; i < object.names.size(); ++i) {
    if (object.names[i] == name) return &object.items[i];
  }
  return nullptr;
}

std::string Indented(std::string_view text, int columns) {
  return absl::StrReplaceAll(std::string(text), {{"\n", "\n" + std::string(columns, ' ')}});
}

std::string List(std::string_view configuration) {
  return fmt::format("\"configurations\": [\n        {}\n    ]", Indented(configuration, 8));
}

}  // namespace

absl::StatusOr<std::string> WithConfiguration(std::string_view text, std::string_view name,
                                              std::string_view configuration) {
  Reader reader(text);
  KDBG_ASSIGN_OR_RETURN(const std::optional<Value> root, reader.Document());
  std::string result(text);
  if (!root) {
    return result +
           fmt::format("{{\n    \"version\": \"0.2.0\",\n    {}\n}}\n", List(configuration));
  }
  if (root->kind != Value::Kind::kObject) return reader.WrongAt(root->begin, "a '{'");
  const Value* list = Find(*root, "configurations");
  if (list == nullptr) {
    return result.insert(root->begin + 1, fmt::format("\n    {}{}", List(configuration),
                                                      root->items.empty() ? "\n" : ","));
  }
  if (list->kind != Value::Kind::kArray) return reader.WrongAt(list->begin, "a '['");
  for (const Value& item : list->items) {
    const Value* called = Find(item, "name");
    if (called == nullptr || called->kind != Value::Kind::kString) continue;
    if (text.substr(called->begin + 1, called->end - called->begin - 2) != name) continue;
    return result.replace(item.begin, item.end - item.begin, Indented(configuration, 8));
  }
  // Before the bracket, so that a comment behind the last one stays with it.
  const std::size_t last = text.find_last_not_of(" \t\r\n", list->end - 2) + 1;
  result.replace(last, list->end - 1 - last,
                 fmt::format("\n        {}\n    ", Indented(configuration, 8)));
  if (!list->items.empty() && !list->trailing_comma) result.insert(list->items.back().end, ",");
  return result;
}

}  // namespace kdbg::client
