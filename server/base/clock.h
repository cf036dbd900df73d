// Time as the daemon sees it, behind a seam so that tests tick it by hand.
#pragma once

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace kdbg {

class Clock {
 public:
  virtual ~Clock() = default;
  // Wall time: for display and records only.
  virtual absl::Time Now() const = 0;
  // Since an arbitrary start, never set back, counts suspend (CLOCK_BOOTTIME): for leases and time
  // limits.
  virtual absl::Duration Monotonic() const = 0;
};

class SystemClock final : public Clock {
 public:
  absl::Time Now() const override;
  absl::Duration Monotonic() const override;
};

}  // namespace kdbg
