#include "server/guest/console_scanner.h"

#include <algorithm>

namespace kdbg::guest {

void ConsoleScanner::Feed(std::string_view bytes) {
  carried_.append(bytes);
  if (!ready_marker_.empty() && carried_.find(ready_marker_) != std::string::npos) ready_ = true;
  if (carried_.find(kPanicMarker) != std::string::npos) panicked_ = true;
  const std::size_t keep = std::max(ready_marker_.size(), kPanicMarker.size()) - 1;
  if (carried_.size() > keep) carried_.erase(0, carried_.size() - keep);
}

}  // namespace kdbg::guest
