#include "server/session/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "proto/contract/error.h"

namespace kdbg::session {
namespace {

using ::testing::HasSubstr;

class AdmissionTest : public ::testing::Test {
 protected:
  AdmissionTest() {
    const std::string directory = ::testing::TempDir() + "admission_blobs";
    blobs_ = *store::BlobStore::Open(directory);
    kernel_.id = "a-kernel";
    kernel_.kind = store::ArtifactKind::kKernel;
    kernel_.architecture = "x86_64";
    kernel_.gnu_build_id = "abcd";
    for (const char* path : {"System.map", "bzImage", "vmlinux"}) {
      kernel_.files.push_back({.path = path, .digest = std::string(64, 'a'), .size_bytes = 1});
    }
    initramfs_.id = "a-initramfs";
    initramfs_.kind = store::ArtifactKind::kInitramfs;
    initramfs_.architecture = "x86_64";
    initramfs_.attributes["announces"] = "1";
    initramfs_.files.push_back(
        {.path = "initramfs.cpio", .digest = std::string(64, 'b'), .size_bytes = 1});
    request_.kernel_artifact = kernel_.id;
    request_.initramfs_artifact = initramfs_.id;
  }

  absl::StatusOr<Admitted> Try() {
    return Admit(request_, kernel_, request_.initramfs_artifact.empty() ? nullptr : &initramfs_,
                 *blobs_, limits_, accelerators_);
  }
  void ExpectRefused(absl::StatusCode code, Reason reason, std::string_view text) {
    const auto admitted = Try();
    ASSERT_FALSE(admitted.ok());
    EXPECT_EQ(admitted.status().code(), code) << admitted.status();
    EXPECT_TRUE(HasReason(admitted.status(), reason)) << admitted.status();
    EXPECT_THAT(std::string(admitted.status().message()), HasSubstr(std::string(text)));
  }

  std::unique_ptr<store::BlobStore> blobs_;
  store::Artifact kernel_;
  store::Artifact initramfs_;
  SessionRequest request_;
  SessionLimits limits_;
  Accelerators accelerators_{.kvm_usable = false, .kvm_reason = "no /dev/kvm"};
};

TEST_F(AdmissionTest, AnEmptyRequestGetsTheDefaults) {
  const auto admitted = Try();
  ASSERT_TRUE(admitted.ok()) << admitted.status();
  EXPECT_EQ(admitted->guest.memory_mib, 256);
  EXPECT_EQ(admitted->guest.vcpu_count, 1);
  EXPECT_EQ(admitted->ttl, absl::Hours(2));
  EXPECT_EQ(std::get<guest::StopAtSymbol>(admitted->stop).symbol, "start_kernel");
  EXPECT_EQ(admitted->guest.ready_sign, guest::ReadySign::kMarkerLine);
  EXPECT_THAT(admitted->guest.command_line, HasSubstr("nokaslr"));
  EXPECT_THAT(admitted->guest.command_line, HasSubstr("console=ttyS0"));
}

TEST_F(AdmissionTest, NoMemoryIsRefusedAndDoesNotMeanTheDefault) {
  request_.memory_mib = 0;
  ExpectRefused(absl::StatusCode::kInvalidArgument, Reason::kMemoryOutOfBounds, "16 to 4096 MiB");
}

TEST_F(AdmissionTest, MoreMemoryThanTheHostGivesIsRefusedWithTheMaximum) {
  request_.memory_mib = 1'000'000;
  ExpectRefused(absl::StatusCode::kInvalidArgument, Reason::kMemoryOutOfBounds, "4096 MiB");
}

TEST_F(AdmissionTest, TooManyCpusAreRefused) {
  request_.vcpu_count = 400;
  ExpectRefused(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid, "1 to 4");
}

TEST_F(AdmissionTest, AKernelWithoutDebugInformationIsRefused) {
  kernel_.gnu_build_id.clear();
  ExpectRefused(absl::StatusCode::kFailedPrecondition, Reason::kNoDebugInformation,
                "build the kernel again");
}

TEST_F(AdmissionTest, AnInitramfsOfAnotherArchitectureIsRefused) {
  initramfs_.architecture = "arm64";
  ExpectRefused(absl::StatusCode::kFailedPrecondition, Reason::kWrongState, "for arm64");
}

TEST_F(AdmissionTest, AnInitramfsTheKernelCannotUnpackIsRefused) {
  initramfs_.files[0].path = "initramfs.cpio.zst";
  initramfs_.attributes["packed"] = "zstd";
  kernel_.attributes["unpacks"] = "none gzip";
  ExpectRefused(absl::StatusCode::kFailedPrecondition, Reason::kWrongState, "CONFIG_RD_ZSTD=y");
  kernel_.attributes["unpacks"] = "none gzip zstd";
  EXPECT_EQ(Try()->guest.initramfs, blobs_->PathOf(std::string(64, 'b')));
}

TEST_F(AdmissionTest, ADeviceThatTheKernelDoesNotDriveIsRefused) {
  kernel_.attributes["drives"] = "nothing";
  EXPECT_TRUE(Try().ok());
  request_.network.emplace();
  ExpectRefused(absl::StatusCode::kFailedPrecondition, Reason::kWrongState, "CONFIG_VIRTIO_NET");
  kernel_.attributes["drives"] = "net";
  EXPECT_TRUE(Try().ok());
  request_.disk_image = "debian.img";
  ExpectRefused(absl::StatusCode::kFailedPrecondition, Reason::kWrongState, "VIRTIO_BLK");
  kernel_.attributes["drives"] = "net disk";
  EXPECT_TRUE(Try().ok());
  request_.folder_upload = "u-1";
  ExpectRefused(absl::StatusCode::kFailedPrecondition, Reason::kWrongState, "CONFIG_9P_FS=y");
  kernel_.attributes["drives"] = "net disk folder";
  EXPECT_TRUE(Try().ok());
  kernel_.attributes.erase("drives");  // from before it was noted
  EXPECT_TRUE(Try().ok());
}

TEST_F(AdmissionTest, AnInitramfsAsKernelIsRefused) {
  kernel_.kind = store::ArtifactKind::kInitramfs;
  ExpectRefused(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid, "is no kernel");
}

TEST_F(AdmissionTest, KvmThatDoesNotWorkIsRefusedWithTheReasonWhenAskedForByName) {
  request_.accelerator = AcceleratorChoice::kKvm;
  ExpectRefused(absl::StatusCode::kFailedPrecondition, Reason::kAcceleratorUnavailable,
                "no /dev/kvm");
}

TEST_F(AdmissionTest, AutoFallsBackToTcgAndTakesKvmWhereItWorks) {
  EXPECT_EQ(Try()->guest.accelerator, vm::Accelerator::kTcg);
  accelerators_.kvm_usable = true;
  EXPECT_EQ(Try()->guest.accelerator, vm::Accelerator::kKvm);
}

TEST_F(AdmissionTest, KvmIsForGuestsOfTheHostsOwnArchitecture) {
  accelerators_.kvm_usable = true;
  const bool on_arm64 = HostArchitecture() == Architecture::kArm64;
  const ArchitectureTraits& other =
      TraitsOf(on_arm64 ? Architecture::kX86_64 : Architecture::kArm64);
  kernel_.architecture = initramfs_.architecture = other.name;
  kernel_.files.push_back({std::string(other.image_target), std::string(64, 'e'), 1});
  EXPECT_EQ(Try()->guest.accelerator, vm::Accelerator::kTcg);
  request_.accelerator = AcceleratorChoice::kKvm;
  ExpectRefused(absl::StatusCode::kFailedPrecondition, Reason::kAcceleratorUnavailable,
                "the host's own architecture");
}

TEST_F(AdmissionTest, StoppingAtAShellNeedsAnInitramfs) {
  request_.stop = ShellStop{};
  request_.initramfs_artifact.clear();
  ExpectRefused(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid, "initramfs");
}

TEST_F(AdmissionTest, AForeignInitramfsIsReadyAtItsFirstUserInstruction) {
  initramfs_.attributes.clear();
  EXPECT_EQ(Try()->guest.ready_sign, guest::ReadySign::kFirstUserInstruction);
}

TEST_F(AdmissionTest, ASymbolAndARandomBaseExcludeEachOther) {
  request_.randomize_base = true;
  ExpectRefused(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid, "at random");
}

TEST_F(AdmissionTest, ALeaseBeyondTheMaximumIsRefused) {
  request_.ttl = absl::Hours(1000);
  ExpectRefused(absl::StatusCode::kInvalidArgument, Reason::kFieldInvalid, "48h");
}

TEST_F(AdmissionTest, ALineBreakInTheKernelArgumentsIsRefused) {
  request_.kernel_arguments = "quiet\ninit=/bin/sh";
  const auto admitted = Try();
  EXPECT_EQ(admitted.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kdbg::session
