// Text from outside (file names, compiler output, a guest) made fit for protobuf's string fields,
// which must be UTF-8.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace kdbg {

// `bytes` with every byte that is no part of valid UTF-8 replaced by U+FFFD.
std::string ValidUtf8(std::string_view bytes);

// At most `max_bytes` of ValidUtf8(bytes), cut between characters; what was cut shows as "...".
std::string ShortUtf8(std::string_view bytes, std::size_t max_bytes);

}  // namespace kdbg
