#include "server/guest/ram_image.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "proto/support/file.h"

namespace kdbg::guest {
namespace {

constexpr std::int64_t kSize = std::int64_t{4} << 20;
constexpr char kLabel[] = "/kdbg-test/ram-image";

std::unique_ptr<RamImage> Make() {
  auto image = RamImage::Make(kSize, std::nullopt, kLabel);
  EXPECT_TRUE(image.ok()) << image.status();
  return *std::move(image);
}

void Write(const RamImage& image, std::int64_t offset, std::string_view text) {
  const UniqueFd file(::open(image.path().c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::pwrite(file.get(), text.data(), text.size(), offset),
            static_cast<ssize_t>(text.size()));
}

bool Exists(int pid) { return ::kill(pid, 0) == 0; }

// Reaps it if it is a child of ours.
bool Gone(int pid) { return ::waitpid(pid, nullptr, 0) == pid || !Exists(pid); }

TEST(RamImageTest, IsWritableUntilItIsSealedAndNeverAfter) {
  const auto image = Make();
  Write(*image, 0, "kernel");
  ASSERT_TRUE(image->Seal().ok());
  // As QEMU opens it, for a clone.
  const UniqueFd file(::open(image->path().c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(file);
  EXPECT_EQ(::pwrite(file.get(), "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(file.get(), 0), -1);
  EXPECT_EQ(::mmap(nullptr, kSize, PROT_WRITE, MAP_SHARED, file.get(), 0), MAP_FAILED);
  void* own = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0);
  ASSERT_NE(own, MAP_FAILED);
  EXPECT_STREQ(static_cast<char*>(own), "kernel");
  static_cast<char*>(own)[0] = 'K';
  char first = 0;
  EXPECT_EQ(::pread(file.get(), &first, 1, 0), 1);
  EXPECT_EQ(first, 'k');
  ::munmap(own, kSize);
}

TEST(RamImageTest, CannotBeSealedWhileAMachineHasIt) {
  const auto image = Make();
  const UniqueFd file(::open(image->path().c_str(), O_RDWR | O_CLOEXEC));
  void* memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  EXPECT_TRUE(absl::IsFailedPrecondition(image->Seal()));
  ::munmap(memory, kSize);
  EXPECT_TRUE(image->Seal().ok());
}

TEST(RamImageTest, DigestIsOfContentAndPlaceNotOfWhatWasRead) {
  const auto image = Make(), other = Make();
  Write(*image, 8192, "page");
  Write(*other, 4096, "page");
  const std::string digest = image->Digest().value();
  EXPECT_NE(digest, other->Digest().value());
  // A clone that reads makes pages of holes.
  const UniqueFd file(::open(image->path().c_str(), O_RDWR | O_CLOEXEC));
  auto* memory =
      static_cast<volatile char*>(::mmap(nullptr, kSize, PROT_READ, MAP_PRIVATE, file.get(), 0));
  for (std::int64_t at = 0; at < kSize; at += 4096) (void)memory[at];
  ::munmap(const_cast<char*>(memory), kSize);
  EXPECT_GT(image->resident_bytes(), 4096);
  EXPECT_EQ(image->Digest().value(), digest);
}

TEST(RamImageTest, EndsItsKeeperUnlessItIsKept) {
  int pid = 0;
  {
    const auto image = Make();
    pid = image->mark().pid;
    EXPECT_TRUE(image->reachable());
  }
  EXPECT_FALSE(Exists(pid));
}

TEST(RamImageTest, IsAdoptedAsItWas) {
  KeeperMark mark;
  std::string digest;
  {
    const auto image = Make();
    Write(*image, 4096, "text");
    ASSERT_TRUE(image->Seal().ok());
    ASSERT_TRUE(image->Keep().ok());
    mark = image->mark();
    digest = image->Digest().value();
  }
  {
    const auto adopted = RamImage::Adopt(mark, kSize);
    ASSERT_TRUE(adopted.ok()) << adopted.status();
    EXPECT_EQ((*adopted)->Digest().value(), digest);
    EXPECT_TRUE(absl::IsDataLoss(RamImage::Adopt(mark, 2 * kSize).status()));
    (*adopted)->Discard();
  }
  EXPECT_TRUE(Gone(mark.pid));
  EXPECT_TRUE(absl::IsNotFound(RamImage::Adopt(mark, kSize).status()));
}

TEST(RamImageTest, DoesNotTakeAnotherProcessForItsKeeper) {
  const auto image = Make();
  ASSERT_TRUE(image->Seal().ok());
  KeeperMark reused = image->mark();
  reused.start_ticks -= 1;
  EXPECT_TRUE(absl::IsNotFound(RamImage::Adopt(reused, kSize).status()));
  KeeperMark other = image->mark();
  other.inode += 1;
  EXPECT_TRUE(absl::IsDataLoss(RamImage::Adopt(other, kSize).status()));
}

TEST(RamImageTest, IsNotAdoptedUnsealed) {
  const auto image = Make();
  EXPECT_TRUE(absl::IsDataLoss(RamImage::Adopt(image->mark(), kSize).status()));
}

TEST(RamImageTest, KeepersOfNoTemplateAreEnded) {
  const auto stray = Make(), known = Make();
  EndStrayKeepers("/kdbg-test", {known->mark().pid});
  EXPECT_TRUE(known->reachable());
  EXPECT_TRUE(Gone(stray->mark().pid));
  EndStrayKeepers("/kdbg", {});  // another directory, though its name begins alike
  EXPECT_TRUE(known->reachable());
}

}  // namespace
}  // namespace kdbg::guest
