#include "server/vm/libvirt/libvirt_hypervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "proto/contract/error.h"

namespace kdbg::vm {
namespace {

using ::testing::IsEmpty;

// libvirt's own mock driver: in this process, with one running domain called "test" that is not
// ours.
constexpr char kTestUri[] = "test:///default";

std::unique_ptr<LibvirtHypervisor> OpenTestDriver() {
  auto hypervisor = LibvirtHypervisor::Open({.uri = kTestUri, .instance = "/s"});
  EXPECT_TRUE(hypervisor.ok()) << hypervisor.status();
  return *std::move(hypervisor);
}

TEST(LibvirtHypervisorTest, SaysUnavailableWhenNobodyAnswers) {
  const auto hypervisor = LibvirtHypervisor::Open(
      {.uri = "qemu+unix:///system?socket=/nonexistent/libvirt-sock", .instance = "/s"});
  EXPECT_EQ(hypervisor.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(HasReason(hypervisor.status(), Reason::kHypervisorUnavailable));
}

TEST(LibvirtHypervisorTest, ListsNoDomainOfOthers) {
  EXPECT_THAT(OpenTestDriver()->ListOwn().value(), IsEmpty());
}

TEST(LibvirtHypervisorTest, LeavesDomainsOfOthersAlone) {
  const auto hypervisor = OpenTestDriver();
  EXPECT_TRUE(HasReason(hypervisor->Destroy("test"), Reason::kHypervisorRefused));
  EXPECT_TRUE(HasReason(hypervisor->Suspend("test"), Reason::kHypervisorRefused));
  EXPECT_TRUE(HasReason(hypervisor->State("test").status(), Reason::kHypervisorRefused));
}

TEST(LibvirtHypervisorTest, TakesADomainThatIsNotThereForGone) {
  const auto hypervisor = OpenTestDriver();
  EXPECT_EQ(hypervisor->State("kdbg-vm-none").value(), DomainState::kGone);
  EXPECT_TRUE(hypervisor->Destroy("kdbg-vm-none").ok());
  EXPECT_TRUE(HasReason(hypervisor->Resume("kdbg-vm-none"), Reason::kVmLost));
}

TEST(LibvirtHypervisorTest, RefusesToRunAGuestAsRoot) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root could";
  std::string root = "/tmp/kdbg-vm-XXXXXX";
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  {
    const auto hypervisor =
        LibvirtHypervisor::Open({.uri = "qemu:///embed?root=" + root, .instance = "/s"});
    ASSERT_TRUE(hypervisor.ok()) << hypervisor.status();
    DomainSpec spec;
    spec.name = "kdbg-vm-1";
    EXPECT_TRUE(HasReason((*hypervisor)->CreatePaused(spec), Reason::kHypervisorRefused));
  }
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace kdbg::vm
