#include "server/source/upload_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/sha256.h"
#include "tests/support/fake_clock.h"
#include "tests/unit/source/temp_dir.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;

class UploadStoreTest : public TempDirTest {
 protected:
  UploadStoreTest() {
    database_ = *state::Database::Open(directory_ / "kdbg.db", UploadStore::Migrations());
    limits_.maximum_size_bytes = 1000;
    limits_.maximum_unfinished_per_owner = 2;
    Reopen();
  }
  void Reopen() {
    store_.reset();
    auto store = UploadStore::Open(directory_ / "uploads", *database_, clock_, limits_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  absl::StatusOr<Upload> Create(std::string_view content, std::string_view owner = "alice") {
    return store_->Create(owner, Sha256Hex(content), static_cast<std::int64_t>(content.size()));
  }
  absl::StatusOr<Upload> Send(std::string_view id, std::int64_t offset, std::string_view bytes) {
    auto writer = store_->OpenWriter(id, offset);
    if (!writer.ok()) return writer.status();
    if (absl::Status status = writer->Write(bytes); !status.ok()) return status;
    return writer->Finish();
  }
  int Files() const {
    return static_cast<int>(std::distance(fs::directory_iterator(directory_ / "uploads"), {}));
  }

  FakeClock clock_;
  UploadLimits limits_;
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<UploadStore> store_;
};

TEST_F(UploadStoreTest, TakesBytesAndChecksTheirDigest) {
  const Upload upload = *Create("hello");
  EXPECT_FALSE(upload.complete);
  EXPECT_EQ(store_->OpenComplete(upload.id).status().code(), absl::StatusCode::kFailedPrecondition);
  const auto sent = Send(upload.id, 0, "hello");
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_TRUE(sent->complete);
  EXPECT_EQ(sent->received_bytes, 5);
  EXPECT_TRUE(store_->OpenComplete(upload.id).ok());
}

TEST_F(UploadStoreTest, TheSameBytesOfTheSameOwnerAreTheSameUpload) {
  const Upload first = *Create("hello");
  EXPECT_EQ(Create("hello")->id, first.id);
  EXPECT_NE(Create("hello", "bob")->id, first.id);
}

TEST_F(UploadStoreTest, GoesOnWhereABrokenStreamEnded) {
  const Upload upload = *Create("hello world");
  {
    auto writer = store_->OpenWriter(upload.id, 0);
    ASSERT_TRUE(writer->Write("hel").ok());
    ASSERT_TRUE(writer->Write("lo").ok());
  }  // the client is gone
  EXPECT_EQ(store_->Get(upload.id)->received_bytes, 5);
  EXPECT_FALSE(store_->Get(upload.id)->complete);
  const auto wrong = store_->OpenWriter(upload.id, 4);
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(GetErrorDetail(wrong.status())->metadata.at("size"), "5");
  EXPECT_TRUE(Send(upload.id, 5, " world")->complete);
}

TEST_F(UploadStoreTest, GoesOnAfterARestart) {
  const Upload upload = *Create("hello world");
  ASSERT_TRUE(Send(upload.id, 0, "hello").ok());
  Reopen();
  EXPECT_EQ(Create("hello world")->received_bytes, 5);
  EXPECT_TRUE(Send(upload.id, 5, " world")->complete);
  Reopen();
  EXPECT_TRUE(store_->Get(upload.id)->complete);
}

TEST_F(UploadStoreTest, ANewerStreamTakesOver) {
  const Upload upload = *Create("hello world");
  auto older = store_->OpenWriter(upload.id, 0);
  ASSERT_TRUE(older->Write("hello").ok());
  auto newer = store_->OpenWriter(upload.id, 5);
  ASSERT_TRUE(newer.ok()) << newer.status();
  EXPECT_EQ(older->Write(" wor").code(), absl::StatusCode::kAborted);
  EXPECT_FALSE(older->Finish()->complete);
  { auto gone = *std::move(older); }
  ASSERT_TRUE(newer->Write(" world").ok());
  EXPECT_TRUE(newer->Finish()->complete);
}

TEST_F(UploadStoreTest, WrongBytesEmptyTheUpload) {
  const Upload upload = *Create("hello");
  const auto sent = Send(upload.id, 0, "hellp");
  EXPECT_EQ(sent.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(HasReason(sent.status(), Reason::kDigestMismatch));
  EXPECT_EQ(store_->Get(upload.id)->received_bytes, 0);
  EXPECT_TRUE(Send(upload.id, 0, "hello")->complete);
}

TEST_F(UploadStoreTest, RefusesMoreThanWasAnnounced) {
  const Upload upload = *Create("hello");
  EXPECT_EQ(Send(upload.id, 0, "hello!").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Get(upload.id)->received_bytes, 0);
}

TEST_F(UploadStoreTest, RefusesBadAnnouncements) {
  const std::string digest = Sha256Hex("x");
  EXPECT_EQ(store_->Create("a", "abc", 1).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Create("a", digest, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Create("a", digest, -5).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->Create("a", digest, 1001).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(store_->Get("u-none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->OpenWriter("u-none", 0).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(UploadStoreTest, BoundsTheUnfinishedOnesOfEachOwner) {
  ASSERT_TRUE(Create("one").ok());
  const Upload two = *Create("two");
  const auto third = Create("three");
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(HasReason(third.status(), Reason::kQuotaExceeded));
  EXPECT_TRUE(Create("three", "bob").ok());
  ASSERT_TRUE(Send(two.id, 0, "two")->complete);
  EXPECT_TRUE(Create("three").ok());
}

TEST_F(UploadStoreTest, DropsWhatHasNotGrownForADay) {
  const Upload old = *Create("old");
  ASSERT_TRUE(Send(old.id, 0, "o").ok());
  clock_.Advance(absl::Hours(20));
  const Upload resumed = *Create("resumed");
  clock_.Advance(absl::Hours(20));
  ASSERT_TRUE(Send(resumed.id, 0, "r").ok());
  clock_.Advance(absl::Hours(20));
  ASSERT_TRUE(store_->RemoveExpired().ok());
  EXPECT_EQ(store_->Get(old.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Get(resumed.id)->received_bytes, 1);
  EXPECT_EQ(Files(), 1);
}

TEST_F(UploadStoreTest, OpenRemovesFilesWithoutARecord) {
  const Upload upload = *Create("hello");
  ASSERT_TRUE(Send(upload.id, 0, "he").ok());
  WriteFile("uploads/u-stranger", "x");
  Reopen();
  EXPECT_EQ(Files(), 1);
  EXPECT_EQ(store_->Get(upload.id)->received_bytes, 2);
}

TEST_F(UploadStoreTest, RemoveIsIdempotent) {
  const Upload upload = *Create("hello");
  ASSERT_TRUE(Send(upload.id, 0, "hello").ok());
  EXPECT_TRUE(store_->Remove(upload.id).ok());
  EXPECT_TRUE(store_->Remove(upload.id).ok());
  EXPECT_EQ(Files(), 0);
}

}  // namespace
}  // namespace kdbg::source
