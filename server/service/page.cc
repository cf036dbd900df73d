#include "server/service/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "proto/contract/error.h"
#include "proto/support/sha256.h"

namespace kdbg::service {
namespace {

constexpr int kDefaultSize = 50;
constexpr int kMaximumSize = 500;

// No secret: it only tells a token from another list, or from nonsense, from one of ours.
std::string Mark(std::int64_t sequence, std::string_view query) {
  return Sha256Hex(fmt::format("{} {}", sequence, query)).substr(0, 12);
}

}  // namespace

absl::StatusOr<Page> ParsePage(std::int32_t page_size, const std::string& page_token,
                               std::string_view query) {
  if (page_size < 0) {
    return InvalidField("page_size", std::to_string(page_size),
                        "page_size is negative: 0 means the default of 50");
  }
  Page page;
  page.size = page_size == 0 ? kDefaultSize : std::min(page_size, kMaximumSize);
  if (page_token.empty()) return page;
  const char* const end = page_token.data() + page_token.size();
  const auto [rest, error] = std::from_chars(page_token.data(), end, page.before_sequence, 16);
  if (error != std::errc() || page.before_sequence <= 0 || rest == end || *rest != '-' ||
      std::string_view(rest + 1, end) != Mark(page.before_sequence, query)) {
    return InvalidField("page_token", page_token,
                        "page_token is not from this list: start again without one");
  }
  return page;
}

std::string NextPageToken(std::int64_t last_sequence, std::string_view query) {
  return fmt::format("{:x}-{}", last_sequence, Mark(last_sequence, query));
}

}  // namespace kdbg::service
