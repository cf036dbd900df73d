#include "client/command_words.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace kdbg::client {
namespace {

// Levenshtein's distance.
std::size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, change}));
    }
  }
  return row.back();
}

}  // namespace

std::string NearestWord(std::string_view word, std::span<const std::string> known) {
  std::string nearest;
  std::size_t best = std::max<std::size_t>(word.size() / 2, 2) + 1;
  for (const std::string& candidate : known) {
    const std::size_t distance =
        candidate.starts_with(word) && word.size() >= 2 ? 0 : Distance(word, candidate);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace kdbg::client
