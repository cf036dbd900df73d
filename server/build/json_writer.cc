#include "server/build/json_writer.h"

#include <fmt/format.h>

namespace kdbg::build {
namespace {

std::string Quote(std::string_view text) {
  std::string quoted = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += static_cast<char>(c);
    } else if (c < 0x20 || c >= 0x7f) {
      // Bytes beyond ASCII come from version strings of strangers and need not be UTF-8.
      quoted += fmt::format("\\u{:04x}", c);
    } else {
      quoted += static_cast<char>(c);
    }
  }
  return quoted + '"';
}

}  // namespace

JsonObject& JsonObject::Text(std::string_view name, std::string_view value) {
  members_.push_back({std::string(name), Quote(value), {}});
  return *this;
}

JsonObject& JsonObject::Number(std::string_view name, double value) {
  members_.push_back({std::string(name), fmt::format("{:.3f}", value), {}});
  return *this;
}

JsonObject& JsonObject::Integer(std::string_view name, std::int64_t value) {
  members_.push_back({std::string(name), fmt::format("{}", value), {}});
  return *this;
}

JsonObject& JsonObject::Texts(std::string_view name, const std::vector<std::string>& values) {
  std::string list = "[";
  for (const std::string& value : values) list += (list.size() > 1 ? ", " : "") + Quote(value);
  members_.push_back({std::string(name), list + "]", {}});
  return *this;
}

JsonObject& JsonObject::Object(std::string_view name, const JsonObject& value) {
  members_.push_back({std::string(name), "", {value}});
  return *this;
}

// NOLINTNEXTLINE(misc-no-recursion): as deep as the objects that were added
std::string JsonObject::Render(int indentation) const {
  const std::string inner(static_cast<std::size_t>(indentation) + 2, ' ');
  std::string text = "{";
  for (const Member& member : members_) {
    if (text.size() > 1) text += ",";
    text += "\n" + inner + Quote(member.name) + ": ";
    text += member.object.empty() ? member.value : member.object[0].Render(indentation + 2);
  }
  return text + "\n" + std::string(static_cast<std::size_t>(indentation), ' ') + "}";
}

}  // namespace kdbg::build
