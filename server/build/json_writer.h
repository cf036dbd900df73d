// Writes one JSON object with members in the order they are added. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kdbg::build {

class JsonObject {
 public:
  JsonObject& Text(std::string_view name, std::string_view value);
  JsonObject& Number(std::string_view name, double value);
  JsonObject& Integer(std::string_view name, std::int64_t value);
  JsonObject& Texts(std::string_view name, const std::vector<std::string>& values);
  JsonObject& Object(std::string_view name, const JsonObject& value);

  // Indented by two spaces, with a newline at its end.
  std::string ToString() const { return Render(0) + "\n"; }

 private:
  std::string Render(int indentation) const;
  struct Member {
    std::string name;
    std::string value;  // as JSON; empty for an object
    std::vector<JsonObject> object;
  };
  std::vector<Member> members_;
};

}  // namespace kdbg::build
