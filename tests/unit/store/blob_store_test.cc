#include "server/store/blob_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

#include "proto/contract/error.h"
#include "proto/support/file.h"

namespace kdbg::store {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr char kHelloDigest[] = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

class BlobStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "kdbg-blobs-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    Reopen();
  }
  void TearDown() override { fs::remove_all(directory_); }

  void Reopen() {
    auto store = BlobStore::Open(directory_ / "store");
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  // Everything that is neither a folder nor a blob in place.
  int Leftovers() const {
    int count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(directory_ / "store")) {
      if (entry.is_regular_file() && !IsDigest(entry.path().filename().string())) ++count;
    }
    return count;
  }
  static int Mode(const fs::path& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return static_cast<int>(status.st_mode & 07777);
  }

  fs::path directory_;
  std::unique_ptr<BlobStore> store_;
};

TEST_F(BlobStoreTest, StoresBytesUnderTheirDigest) {
  const auto blob = store_->PutBytes("hello");
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(blob->digest, kHelloDigest);
  EXPECT_EQ(blob->size_bytes, 5);
  EXPECT_EQ(*ReadFile(store_->PathOf(kHelloDigest)), "hello");
  EXPECT_TRUE(store_->OpenBlob(*blob).ok());
  EXPECT_TRUE(store_->Verify(kHelloDigest).ok());
  EXPECT_EQ(Leftovers(), 0);
}

TEST_F(BlobStoreTest, LetsOtherUidsReadInPlaceButNotListOrWrite) {
  const mode_t before = ::umask(0077);
  Reopen();
  ASSERT_TRUE(store_->PutBytes("hello").ok());
  ::umask(before);
  const fs::path path = store_->PathOf(kHelloDigest);
  EXPECT_EQ(Mode(path), 0444);
  EXPECT_EQ(Mode(path.parent_path()), 0711);
  EXPECT_EQ(Mode(path.parent_path().parent_path()), 0711);
  EXPECT_EQ(Mode(directory_ / "store"), 0711);
  EXPECT_EQ(Mode(directory_ / "store/ingest"), 0700);
}

TEST_F(BlobStoreTest, PutsAnOpenFileFromItsStartWithoutLinkingToIt) {
  const fs::path source = directory_ / "source";
  const std::string content(3'000'000, 'k');
  std::ofstream(source) << content;
  UniqueFd fd(::open(source.c_str(), O_RDONLY));
  ::lseek(fd.get(), 100, SEEK_SET);
  const auto blob = store_->Put(fd);
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(blob->size_bytes, 3'000'000);
  EXPECT_EQ(blob->digest, Sha256Hex(content));
  EXPECT_EQ(fs::hard_link_count(source), 1u);
  std::ofstream(source) << "changed";
  EXPECT_TRUE(store_->Verify(blob->digest).ok());
}

TEST_F(BlobStoreTest, EqualBytesAreStoredOnce) {
  ASSERT_TRUE(store_->PutBytes("hello").ok());
  struct stat first {};
  ASSERT_EQ(::stat(store_->PathOf(kHelloDigest).c_str(), &first), 0);
  ASSERT_TRUE(store_->PutBytes("hello").ok());
  struct stat second {};
  ASSERT_EQ(::stat(store_->PathOf(kHelloDigest).c_str(), &second), 0);
  EXPECT_EQ(first.st_ino, second.st_ino);
  EXPECT_EQ(Leftovers(), 0);
}

TEST_F(BlobStoreTest, AnAbandonedIngestVanishes) {
  {
    auto ingest = store_->NewIngest();
    ASSERT_TRUE(ingest.ok());
    ASSERT_TRUE(ingest->Write("half of it").ok());
    BlobStore::Ingest moved = *std::move(ingest);
    EXPECT_EQ(Leftovers(), 1);
  }
  EXPECT_EQ(Leftovers(), 0);
}

TEST_F(BlobStoreTest, OpenRemovesWhatACrashLeft) {
  std::ofstream(directory_ / "store/ingest/XyZ123") << "half of it";
  ASSERT_TRUE(store_->PutBytes("hello").ok());
  Reopen();
  EXPECT_EQ(Leftovers(), 0);
  EXPECT_TRUE(store_->Has(kHelloDigest));
}

TEST_F(BlobStoreTest, AFullDiskLeavesNothingBehind) {
  // The limit on file size stands in for a disk without room.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 1000, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto blob = store_->PutBytes(std::string(5000, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_FALSE(blob.ok());
  EXPECT_EQ(Leftovers(), 0);
}

TEST_F(BlobStoreTest, MissingAndDamagedAreToldApart) {
  const std::string none(64, '0');
  EXPECT_EQ(store_->OpenBlob({none, 1}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->OpenBlob({"../../etc/passwd", 1}).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(store_->PutBytes("hello").ok());
  const auto shorter = store_->OpenBlob({kHelloDigest, 6});
  EXPECT_EQ(shorter.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(HasReason(shorter.status(), Reason::kDataCorrupt));
}

TEST_F(BlobStoreTest, VerifyQuarantinesAFlippedBitAndAPutBringsGoodBytes) {
  ASSERT_TRUE(store_->PutBytes("hello").ok());
  const fs::path path = store_->PathOf(kHelloDigest);
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  std::ofstream(path) << "hellp";
  const absl::Status status = store_->Verify(kHelloDigest);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr(kHelloDigest));
  EXPECT_FALSE(store_->Has(kHelloDigest));
  EXPECT_TRUE(fs::exists(directory_ / "store/quarantine" / kHelloDigest));
  ASSERT_TRUE(store_->PutBytes("hello").ok());
  EXPECT_TRUE(store_->Verify(kHelloDigest).ok());
}

TEST_F(BlobStoreTest, RemovesOnlyOldUnusedBlobsAndLeavesStrangersAlone) {
  const auto used = *store_->PutBytes("used");
  const auto unused = *store_->PutBytes("unused");
  const auto young = *store_->PutBytes("young");
  const fs::path stranger = store_->PathOf(used.digest).parent_path() / "notes.txt";
  std::ofstream(stranger) << "not ours";
  const timespec old[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 1000, .tv_nsec = 0}};
  for (const Blob& blob : {used, unused, young}) {
    ASSERT_EQ(::utimensat(AT_FDCWD, store_->PathOf(blob.digest).c_str(), old, 0), 0);
  }
  ASSERT_EQ(::utimensat(AT_FDCWD, stranger.c_str(), old, 0), 0);
  ASSERT_TRUE(store_->PutBytes("young").ok());  // wanted again just now
  const auto freed = store_->RemoveUnused(
      [&](std::string_view digest) { return digest == used.digest; }, absl::Hours(1));
  ASSERT_TRUE(freed.ok());
  EXPECT_EQ(*freed, 6);
  EXPECT_TRUE(store_->Has(used.digest));
  EXPECT_FALSE(store_->Has(unused.digest));
  EXPECT_TRUE(store_->Has(young.digest));
  EXPECT_TRUE(fs::exists(stranger));
}

}  // namespace
}  // namespace kdbg::store
