#include "server/guest/template_manifest.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/sha256.h"

namespace kdbg::guest {
namespace {

constexpr std::string_view kHeading = "kdbg template 1\n";

// Takes "NAME value\n" from the front of `text`.
std::optional<std::string_view> Take(std::string_view& text, std::string_view name) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos || !text.starts_with(name) ||
      text.substr(0, end).size() <= name.size() || text[name.size()] != ' ') {
    return std::nullopt;
  }
  const std::string_view value = text.substr(name.size() + 1, end - name.size() - 1);
  text.remove_prefix(end + 1);
  return value;
}

bool TakeText(std::string_view& text, std::string_view name, std::string& into) {
  const auto value = Take(text, name);
  if (value) into = std::string(*value);
  return value.has_value();
}

template <typename Number>
bool TakeNumber(std::string_view& text, std::string_view name, Number& into) {
  const auto value = Take(text, name);
  if (!value) return false;
  const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), into);
  return error == std::errc() && end == value->data() + value->size();
}

std::string Body(const TemplateManifest& manifest) {
  return fmt::format(
      "{}key {}\nstopped_at {}\nmemory_bytes {}\nkeeper_pid {}\nkeeper_start {}\n"
      "memory_inode {}\nmemory_digest {}\nstate_digest {}\n",
      kHeading, manifest.key, manifest.stopped_at, manifest.memory_bytes, manifest.keeper.pid,
      manifest.keeper.start_ticks, manifest.keeper.inode, manifest.memory_digest,
      manifest.state_digest);
}

}  // namespace

std::string FormatManifest(const TemplateManifest& manifest) {
  const std::string body = Body(manifest);
  return fmt::format("{}digest {}\n", body, Sha256Hex(body));
}

absl::StatusOr<TemplateManifest> ParseManifest(std::string_view text) {
  const std::string_view whole = text;
  TemplateManifest manifest;
  std::string digest;
  const bool read = text.starts_with(kHeading) && (text.remove_prefix(kHeading.size()), true) &&
                    TakeText(text, "key", manifest.key) &&
                    TakeText(text, "stopped_at", manifest.stopped_at) &&
                    TakeNumber(text, "memory_bytes", manifest.memory_bytes) &&
                    TakeNumber(text, "keeper_pid", manifest.keeper.pid) &&
                    TakeNumber(text, "keeper_start", manifest.keeper.start_ticks) &&
                    TakeNumber(text, "memory_inode", manifest.keeper.inode) &&
                    TakeText(text, "memory_digest", manifest.memory_digest) &&
                    TakeText(text, "state_digest", manifest.state_digest);
  // Written again it must be the same, to the byte and its digest.
  if (read && FormatManifest(manifest) == whole) return manifest;
  return MakeError(absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
                   "the template's manifest is damaged");
}

}  // namespace kdbg::guest
