#include "server/base/ids.h"

#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstdlib>

namespace kdbg {

std::string NewId(std::string_view prefix) {
  constexpr std::string_view kAlphabet = "23456789abcdefghijkmnpqrstuvwxyz";
  static_assert(kAlphabet.size() == 32);
  std::array<unsigned char, 8> random;
  // Up to 256 bytes come whole once the pool is ready; only a signal before that interrupts.
  while (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    if (errno != EINTR) std::abort();
  }
  std::string id(prefix);
  id += '-';
  for (const unsigned char byte : random) id += kAlphabet[byte % kAlphabet.size()];
  return id;
}

}  // namespace kdbg
