#include "server/store/artifact_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"

namespace kdbg::store {
namespace {

using state::Transaction;
using testing::ElementsAre;
using testing::HasSubstr;

class FixedClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::FromUnixSeconds(1'700'000'000); }
  absl::Duration Monotonic() const override { return absl::ZeroDuration(); }
};

class ArtifactStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "kdbg-artifacts-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    blobs_ = *BlobStore::Open(directory_ / "store");
    database_ = *state::Database::Open(directory_ / "kdbg.db", ArtifactStore::Migrations());
    store_ = std::make_unique<ArtifactStore>(*database_, *blobs_, clock_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Artifact Kernel(const std::string& owner, const std::string& content = "ELF") {
    Artifact artifact;
    artifact.owner = owner;
    artifact.build_id = "b-1";
    artifact.version = "6.1.170";
    const Blob vmlinux = *blobs_->PutBytes(content);
    artifact.files = {{"vmlinux", vmlinux.digest, vmlinux.size_bytes},
                      {"bzImage", vmlinux.digest, vmlinux.size_bytes}};
    artifact.attributes["announces"] = "1";
    return artifact;
  }
  absl::StatusOr<Artifact> Publish(const Artifact& artifact) {
    absl::StatusOr<Artifact> published = absl::UnknownError("not run");
    const absl::Status status = database_->Write([&](Transaction& t) {
      published = store_->Publish(t, artifact);
      return published.status();
    });
    if (!status.ok()) return status;
    return published;
  }
  absl::Status Pin(std::string_view id, std::string_view holder) {
    return database_->Write([&](Transaction& t) { return store_->Pin(t, id, holder); });
  }
  absl::Status Unpin(std::string_view id, std::string_view holder) {
    return database_->Write([&](Transaction& t) { return store_->Unpin(t, id, holder); });
  }
  std::vector<std::string> Ids(const ArtifactStore::ListQuery& query) {
    std::vector<std::string> ids;
    const std::vector<Artifact> artifacts = *store_->List(query);
    for (const Artifact& artifact : artifacts) ids.push_back(artifact.id);
    return ids;
  }
  void MakeOld(std::string_view digest) {
    const timespec old[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 1000, .tv_nsec = 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, blobs_->PathOf(digest).c_str(), old, 0), 0);
  }

  std::filesystem::path directory_;
  FixedClock clock_;
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<state::Database> database_;
  std::unique_ptr<ArtifactStore> store_;
};

TEST_F(ArtifactStoreTest, GivesBackWhatWasPublished) {
  const auto published = Publish(Kernel("alice"));
  ASSERT_TRUE(published.ok()) << published.status();
  const auto got = store_->Get(published->id);
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->owner, "alice");
  EXPECT_EQ(got->version, "6.1.170");
  EXPECT_EQ(got->create_time, clock_.Now());
  EXPECT_EQ(got->sequence, published->sequence);
  ASSERT_EQ(got->files.size(), 2u);
  EXPECT_EQ(got->files[0].path, "bzImage");
  ASSERT_NE(got->FindFile("vmlinux"), nullptr);
  EXPECT_EQ(got->FindFile("vmlinux")->size_bytes, 3);
  EXPECT_EQ(got->FindFile("none"), nullptr);
  EXPECT_EQ(got->attributes.at("announces"), "1");
  EXPECT_EQ(store_->Get("a-none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ArtifactStoreTest, TellsSubscribersAfterTheCommitOnly) {
  std::vector<std::string> heard;
  Subscription subscription = store_->Subscribe([&](const Published& event) {
    EXPECT_TRUE(store_->Get(event.artifact.id).ok());
    heard.push_back(event.artifact.owner);
  });
  EXPECT_FALSE(database_
                   ->Write([&](Transaction& t) -> absl::Status {
                     KDBG_RETURN_IF_ERROR(store_->Publish(t, Kernel("mallory")).status());
                     return absl::AbortedError("the build could not be recorded");
                   })
                   .ok());
  EXPECT_THAT(heard, ElementsAre());
  ASSERT_TRUE(Publish(Kernel("alice")).ok());
  EXPECT_THAT(heard, ElementsAre("alice"));
  subscription.Reset();
  ASSERT_TRUE(Publish(Kernel("bob")).ok());
  EXPECT_THAT(heard, ElementsAre("alice"));
}

TEST_F(ArtifactStoreTest, RefusesAFileWhoseBytesAreNotStored) {
  Artifact artifact = Kernel("alice");
  artifact.files.push_back({"System.map", std::string(64, '0'), 7});
  EXPECT_EQ(Publish(artifact).status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Ids({}), ElementsAre());
}

TEST_F(ArtifactStoreTest, TakesALateFileOnceOrTwice) {
  const std::string id = Publish(Kernel("alice"))->id;
  const Blob index = *blobs_->PutBytes("index");
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(store_->AddFile(id, {"vmlinux.gdb-index", index.digest, index.size_bytes}).ok());
  }
  EXPECT_EQ(store_->Get(id)->files.size(), 3u);
  EXPECT_EQ(store_->AddFile("a-none", {"x", index.digest, 5}).code(), absl::StatusCode::kNotFound);
}

TEST_F(ArtifactStoreTest, ListsByOwnerKindAndPageNewestFirst) {
  const std::string a1 = Publish(Kernel("alice"))->id;
  Artifact hidden = Kernel("bob");
  hidden.is_private = true;
  const std::string b1 = Publish(hidden)->id;
  const std::string b2 = Publish(Kernel("bob"))->id;
  Artifact initramfs = Kernel("alice");
  initramfs.kind = ArtifactKind::kInitramfs;
  const std::string a2 = Publish(initramfs)->id;

  EXPECT_THAT(Ids({}), ElementsAre(a2, b2, b1, a1));
  EXPECT_THAT(Ids({.owner = "alice"}), ElementsAre(a2, a1));
  EXPECT_THAT(Ids({.owner = "alice", .include_shared = true}), ElementsAre(a2, b2, a1));
  EXPECT_THAT(Ids({.owner = "alice", .kind = ArtifactKind::kKernel}), ElementsAre(a1));
  EXPECT_THAT(Ids({.limit = 2}), ElementsAre(a2, b2));
  EXPECT_THAT(Ids({.before_sequence = store_->Get(b2)->sequence, .limit = 2}), ElementsAre(b1, a1));
}

TEST_F(ArtifactStoreTest, ListsThoseWithAFileOfThatBuildIdWhichAnOwnerMaySee) {
  Artifact kernel = Kernel("alice");
  kernel.files.front().gnu_build_id = "00ddba11";
  kernel.is_private = true;
  const std::string id = Publish(kernel)->id;
  ASSERT_TRUE(Publish(Kernel("alice", "another")).ok());
  const auto found = store_->List({.owner = "alice", .gnu_build_id = "00ddba11"}).value();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].id, id);
  EXPECT_EQ(found[0].FindFile(kernel.files.front().path)->gnu_build_id, "00ddba11");
  EXPECT_EQ(store_->List({.gnu_build_id = "00ddba11"})->size(), 1u) << "of everybody's";
  EXPECT_TRUE(store_->List({.owner = "alice", .gnu_build_id = "00ddba12"})->empty());
  EXPECT_TRUE(
      store_->List({.owner = "bob", .include_shared = true, .gnu_build_id = "00ddba11"})->empty());
}

TEST_F(ArtifactStoreTest, PinsHoldAgainstDeleteAndNameTheirHolder) {
  const std::string id = Publish(Kernel("alice"))->id;
  ASSERT_TRUE(Pin(id, "session vm-1").ok());
  ASSERT_TRUE(Pin(id, "session vm-1").ok());
  EXPECT_THAT(store_->Get(id)->pins, ElementsAre("session vm-1"));
  const absl::Status refused = store_->Delete(id);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(HasReason(refused, Reason::kHolderBusy));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("session vm-1"));
  ASSERT_TRUE(Unpin(id, "session vm-1").ok());
  ASSERT_TRUE(Unpin(id, "session vm-1").ok());
  EXPECT_TRUE(store_->Delete(id).ok());
  EXPECT_TRUE(store_->Delete(id).ok());
  EXPECT_EQ(store_->Get(id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Pin(id, "user bob").code(), absl::StatusCode::kNotFound);
}

TEST_F(ArtifactStoreTest, APinIsRolledBackWithItsTransaction) {
  const std::string id = Publish(Kernel("alice"))->id;
  EXPECT_FALSE(database_
                   ->Write([&](Transaction& t) -> absl::Status {
                     KDBG_RETURN_IF_ERROR(store_->Pin(t, id, "session vm-1"));
                     return absl::AbortedError("no session after all");
                   })
                   .ok());
  EXPECT_TRUE(store_->Delete(id).ok());
}

TEST_F(ArtifactStoreTest, GarbageCollectionFreesOnlyWhatNoArtifactNames) {
  const Artifact kept = *Publish(Kernel("alice", "kept"));
  const Artifact gone = *Publish(Kernel("alice", "gone"));
  MakeOld(kept.files[0].digest);
  MakeOld(gone.files[0].digest);
  ASSERT_TRUE(store_->Delete(gone.id).ok());
  const Blob unclaimed = *blobs_->PutBytes("a build is about to name this");
  EXPECT_EQ(*store_->CollectGarbage(), 4);
  EXPECT_TRUE(blobs_->Has(kept.files[0].digest));
  EXPECT_FALSE(blobs_->Has(gone.files[0].digest));
  EXPECT_TRUE(blobs_->Has(unclaimed.digest));
}

}  // namespace
}  // namespace kdbg::store
