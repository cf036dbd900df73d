#include "server/host/accelerator.h"

#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "server/host/kvm_probe_rom.h"

namespace kdbg::host {
namespace {

TEST(KvmProbeTest, EndsInTimeAndSaysHowItWasFoundOut) {
  const absl::Time start = absl::Now();
  const KvmProbe probe = ProbeKvm(absl::Milliseconds(500));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  EXPECT_FALSE(probe.reason.empty());
  RecordProperty("usable", probe.usable ? "yes" : "no");
  RecordProperty("reason", probe.reason);
}

TEST(KvmProbeTest, HasARomThatFitsBelowItsTables) {
#if defined(__x86_64__)
  EXPECT_FALSE(ProbeRom().empty());
#endif
  EXPECT_LT(kProbeRomAddress + ProbeRom().size(), 0x7000u);
}

}  // namespace
}  // namespace kdbg::host
