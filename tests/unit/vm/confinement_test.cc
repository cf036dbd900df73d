#include "server/vm/libvirt/confinement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/contract/error.h"

namespace kdbg::vm {
namespace {

// True with AppArmor and without.
TEST(ConfinementTest, WhatCannotBeConfinedIsNotRun) {
  bool ran = false;
  const absl::Status status = RunConfined("kdbg-no-such-profile", [&] {
    ran = true;
    return absl::OkStatus();
  });
  EXPECT_TRUE(HasReason(status, Reason::kHypervisorRefused)) << status;
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("kdbg-no-such-profile"));
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace kdbg::vm
