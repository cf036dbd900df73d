#include "proto/contract/resource_name.h"

#include <gtest/gtest.h>

#include <string>

#include "proto/contract/architecture.h"
#include "proto/contract/error.h"

namespace kdbg {
namespace {

TEST(ResourceNameTest, TakesAFullNameOrABareId) {
  EXPECT_EQ(*ParseResourceName(kBuilds, "builds/b-7"), "b-7");
  EXPECT_EQ(*ParseResourceName(kBuilds, "b-7"), "b-7");
  EXPECT_EQ(ResourceName(kBuilds, "b-7"), "builds/b-7");
}

TEST(ResourceNameTest, RefusesEverythingThatIsNoIdAndNamesTheField) {
  const std::string too_long(129, 'a');
  for (const std::string& name :
       {std::string(), std::string("builds/"), std::string("sessions/vm-1"),
        std::string("builds/../x"), std::string("builds/a/b"), std::string(".hidden"),
        std::string("-flag"), std::string("a\0b", 3), too_long, std::string("gr\xC3\xBC")}) {
    SCOPED_TRACE(name);
    const auto id = ParseResourceName(kBuilds, name, "build.source");
    ASSERT_FALSE(id.ok());
    EXPECT_EQ(id.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(GetErrorDetail(id.status())->metadata.at("field"), "build.source");
  }
}

TEST(ArchitectureTest, OnlyTheHostsOwnNeedsNoGdbForMany) {
  for (const ArchitectureTraits& traits : Architectures()) {
    const bool own = traits.architecture == HostArchitecture();
    EXPECT_EQ(GdbFor(traits.architecture), own ? "gdb" : "gdb-multiarch") << traits.name;
  }
}

TEST(ArchitectureTest, TheTableIsInTheOrderOfTheEnumAndNamesAreFound) {
  for (const ArchitectureTraits& traits : Architectures()) {
    EXPECT_EQ(TraitsOf(traits.architecture).name, traits.name);
    EXPECT_EQ(FindArchitecture(traits.name), &traits);
  }
  EXPECT_EQ(FindArchitecture("z80"), nullptr);
}

}  // namespace
}  // namespace kdbg
