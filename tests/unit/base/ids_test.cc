#include "server/base/ids.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "proto/contract/resource_name.h"

namespace kdbg {
namespace {

TEST(IdsTest, AreResourceIdsThatDoNotRepeat) {
  std::set<std::string> seen;
  for (int i = 0; i < 10'000; ++i) {
    const std::string id = NewId("b");
    EXPECT_TRUE(id.starts_with("b-"));
    EXPECT_TRUE(IsResourceId(id));
    EXPECT_TRUE(seen.insert(id).second) << id;
  }
}

}  // namespace
}  // namespace kdbg
