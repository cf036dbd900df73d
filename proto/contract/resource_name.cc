#include "proto/contract/resource_name.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/contract/error.h"

namespace kdbg {

std::string ResourceName(std::string_view collection, std::string_view id) {
  return fmt::format("{}/{}", collection, id);
}

bool IsResourceId(std::string_view id) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !id.empty() && id.size() <= 128 && id.front() != '.' && id.front() != '-' &&
         std::all_of(id.begin(), id.end(), allowed);
}

absl::StatusOr<std::string> ParseResourceName(std::string_view collection, std::string_view name,
                                              std::string_view field) {
  std::string_view id = name;
  if (id.starts_with(collection) && id.substr(collection.size()).starts_with('/')) {
    id.remove_prefix(collection.size() + 1);
  }
  if (!IsResourceId(id)) {
    return InvalidField(field, name,
                        fmt::format("{}: '{}' is no name of the form {}/ID", field,
                                    name.substr(0, 128), collection));
  }
  return std::string(id);
}

}  // namespace kdbg
