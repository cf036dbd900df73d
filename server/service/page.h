// Pages of a list, newest first. A token says where the next page begins and belongs to one query.
// Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace kdbg::service {

struct Page {
  int size = 50;
  std::int64_t before_sequence = 0;  // 0: from the newest
};

// INVALID_ARGUMENT for a negative size and for a token that is not of this `query` ("ListBuilds
// alice all").
absl::StatusOr<Page> ParsePage(std::int32_t page_size, const std::string& page_token,
                               std::string_view query);

// For the page that goes on behind the record with this sequence.
std::string NextPageToken(std::int64_t last_sequence, std::string_view query);

// Takes the records of one page, of which `records` may hold one more, and says whether there is a
// next one.
template <typename Records>
std::string CutPage(const Page& page, std::string_view query, Records* records) {
  if (records->size() <= static_cast<std::size_t>(page.size)) return "";
  records->resize(static_cast<std::size_t>(page.size));
  return NextPageToken(records->back().sequence, query);
}

}  // namespace kdbg::service
