#include "server/build/kernel_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/contract/error.h"

namespace kdbg::build {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kGood =
    "CONFIG_DEBUG_INFO=y\nCONFIG_GDB_SCRIPTS=y\nCONFIG_KALLSYMS=y\nCONFIG_FRAME_POINTER=y\n";

class VerifyConfigTest : public ::testing::Test {
 protected:
  absl::Status Verify(const KernelRequest& request, std::string_view config) {
    const auto requested = ReadRequestedConfig(request);
    EXPECT_TRUE(requested.ok()) << requested.status();
    return VerifyConfig(*requested, Architecture::kX86_64, ConfigValues::FromText(config),
                        [&]() -> absl::StatusOr<const Kconfig*> {
                          auto read = Kconfig::Read(
                              "Kconfig", {}, [](const std::string&) -> absl::StatusOr<std::string> {
                                return "config VIRTIO_NET\n\ttristate \"n\"\n\tdepends on "
                                       "NETDEVICES\nconfig DEBUG_INFO\n\tbool \"d\"\n\tdepends on "
                                       "DEBUG_KERNEL\nconfig NETDEVICES\n\tbool \"n\"\n";
                              });
                          if (!read.ok()) return read.status();
                          kconfig_ = *std::move(read);
                          return &kconfig_;
                        });
  }
  Kconfig kconfig_;
};

TEST_F(VerifyConfigTest, NamesTheDependencyOfASymbolThatWasLost) {
  KernelRequest request;
  request.config_items = {"CONFIG_VIRTIO_NET=y"};
  const absl::Status status = Verify(request, kGood);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(HasReason(status, Reason::kConfigSymbolLost)) << status;
  const auto detail = GetErrorDetail(status);
  EXPECT_EQ(detail->metadata.at("symbol"), "CONFIG_VIRTIO_NET");
  EXPECT_EQ(detail->metadata.at("dependency"), "CONFIG_NETDEVICES=y");
  EXPECT_THAT(std::string(status.message()), HasSubstr("add CONFIG_NETDEVICES=y as well"));
}

TEST_F(VerifyConfigTest, SuggestsANameForOneItDoesNotKnow) {
  KernelRequest request;
  for (const char* item : {"CONFIG_VIRTIO_NTE=y", "CONFIG_VIRTIO_NTE=n"}) {
    request.config_items = {item};
    const absl::Status status = Verify(request, kGood);
    EXPECT_TRUE(HasReason(status, Reason::kConfigSymbolUnknown)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("did you mean CONFIG_VIRTIO_NET?"));
  }
}

TEST_F(VerifyConfigTest, AFragmentMayTurnOffWhatATreeDoesNotHave) {
  KernelRequest request;
  request.fragments = {{"f", "# CONFIG_GONE_SINCE is not set\n"}};
  EXPECT_TRUE(Verify(request, kGood).ok());
}

TEST_F(VerifyConfigTest, AKernelWithoutDebugInformationIsRefused) {
  const absl::Status status = Verify({}, "CONFIG_KALLSYMS=y\n");
  EXPECT_TRUE(HasReason(status, Reason::kConfigSymbolLost)) << status;
  EXPECT_EQ(GetErrorDetail(status)->metadata.at("dependency"), "CONFIG_DEBUG_KERNEL=y");
}

TEST(KernelConfigTest, WhatADebuggerNeedsCannotBeSwitchedOff) {
  KernelRequest request;
  for (const char* item : {"CONFIG_DEBUG_INFO=n", "CONFIG_RANDOMIZE_BASE=y",
                           "CONFIG_DEBUG_INFO_REDUCED=y", "CONFIG_GDB_SCRIPTS=n"}) {
    request.config_items = {item};
    EXPECT_TRUE(HasReason(ReadRequestedConfig(request).status(), Reason::kConfigInvalid)) << item;
  }
}

TEST(KernelConfigTest, TheDebugFragmentIsLast) {
  KernelRequest request;
  request.fragments = {{"distro", "CONFIG_RANDOMIZE_BASE=y\nCONFIG_DEBUG_INFO_NONE=y\n"}};
  const auto config = ReadRequestedConfig(request);
  ASSERT_TRUE(config.ok());
  const ConfigValues values = ConfigValues::FromText(ToText(config->merged));
  EXPECT_EQ(values.Get("RANDOMIZE_BASE"), "n");
  EXPECT_EQ(values.Get("DEBUG_INFO_NONE"), "n");
  EXPECT_EQ(values.Get("DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT"), "y");
}

TEST(KernelConfigTest, WhichDwarfMayBeChosen) {
  KernelRequest request;
  request.config_items = {"CONFIG_DEBUG_INFO_DWARF4=y"};
  const auto config = ReadRequestedConfig(request);
  ASSERT_TRUE(config.ok());
  const ConfigValues values = ConfigValues::FromText(ToText(config->merged));
  EXPECT_EQ(values.Get("DEBUG_INFO_DWARF4"), "y");
  EXPECT_FALSE(values.Has("DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT"));
}

TEST(KernelConfigTest, TheBuiltInBaseIsAConfig) {
  const auto entries = ParseConfigText(TinyFragment(), "tiny");
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_EQ(MergeEntries(*entries).size(), entries->size());
}

}  // namespace
}  // namespace kdbg::build
