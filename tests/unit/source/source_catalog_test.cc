#include "server/source/source_catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "proto/contract/error.h"
#include "proto/support/sha256.h"
#include "tests/support/fake_clock.h"
#include "tests/support/tarball.h"
#include "tests/unit/source/catalog_fixture.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uid_t kNobody = 65534;

class SourceCatalogTest : public CatalogFixture {};

TEST_F(SourceCatalogTest, ImportsAnUploadAndSaysWhatItIs) {
  const std::string bytes = SmallLinuxTarball("6.1.170");
  const std::string upload = Upload(bytes);
  const auto created = Create(Tarball(bytes, upload));
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(created->state, SourceState::kImporting);
  const SourceRecord record = Finished(created->id);
  EXPECT_EQ(record.state, SourceState::kReady);
  EXPECT_EQ(record.project, "linux");
  EXPECT_EQ(record.project_version, "6.1.170");
  EXPECT_EQ(record.files_imported, 7);
  EXPECT_TRUE(record.ready_time.has_value());
  EXPECT_TRUE(objects_->Has(record.tree));
  EXPECT_EQ(Import(SmallBusyboxTarball("1.35.0")).project, "busybox");
}

TEST_F(SourceCatalogTest, ASecondUseOfTheSameTarballNeedsNoBytes) {
  const std::string bytes = SmallLinuxTarball("6.1.170");
  const SourceRecord first = Import(bytes);
  const auto again = Create(Tarball(bytes));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->id, first.id);
  EXPECT_EQ(again->state, SourceState::kReady);
}

TEST_F(SourceCatalogTest, AnotherOwnerMustShowTheBytesAndThenNeedsNoImport) {
  const std::string bytes = SmallLinuxTarball("6.1.170");
  const SourceRecord first = Import(bytes);
  EXPECT_EQ(Create(Tarball(bytes), "bob").status().code(), absl::StatusCode::kNotFound);
  const auto second = Create(Tarball(bytes, Upload(bytes, "bob")), "bob");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->state, SourceState::kReady);
  EXPECT_NE(second->id, first.id);
  EXPECT_EQ(second->owner, "bob");
  EXPECT_EQ(second->tree, first.tree);
  EXPECT_EQ(second->project_version, "6.1.170");
  ASSERT_TRUE(catalog_->Delete(first.id).ok());
  EXPECT_THAT(*objects_->Kept(), ElementsAre(second->id));
}

TEST_F(SourceCatalogTest, AnUnfinishedUploadIsNoProof) {
  const std::string bytes = SmallLinuxTarball("6.1.170");
  Import(bytes);
  const auto half = Create(Tarball(bytes, Upload(bytes, "bob", "half")), "bob");
  EXPECT_EQ(half.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(HasReason(half.status(), Reason::kUploadIncomplete));
}

TEST_F(SourceCatalogTest, SomebodyElsesUploadIsNotThere) {
  const std::string bytes = SmallLinuxTarball("6.1.170");
  EXPECT_EQ(Create(Tarball(bytes, Upload(bytes, "bob")), "alice").status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(SourceCatalogTest, RefusesMalformedRequests) {
  SourceOrigin origin;
  EXPECT_EQ(Create(origin).status().code(), absl::StatusCode::kInvalidArgument);
  origin.sha256 = "abc";
  EXPECT_EQ(Create(origin).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string bytes = SmallLinuxTarball("6.1.170");
  EXPECT_EQ(Create(Tarball("other", Upload(bytes))).status().code(),
            absl::StatusCode::kInvalidArgument);
  origin.kind = OriginKind::kGitUrl;
  EXPECT_EQ(Create(origin).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(SourceCatalogTest, ABadTarballFailsWithItsReasonAndLeavesNothing) {
  const std::string good = SmallLinuxTarball("6.1.170");
  const std::pair<std::string, Reason> cases[] = {
      {"no tarball at all", Reason::kNotAnArchive},
      {good.substr(0, good.size() - 20), Reason::kArchiveTruncated},
      {kdbg::Tarball().File("../evil", "x").Bytes(), Reason::kArchiveUnsafeMember}};
  for (const auto& [bytes, reason] : cases) {
    const SourceRecord record = Import(bytes);
    EXPECT_EQ(record.state, SourceState::kFailed);
    ASSERT_TRUE(record.failure.has_value());
    EXPECT_EQ(record.failure->fault, SourceFault::kSubject);
    EXPECT_EQ(record.failure->reason, ReasonName(reason));
  }
  EXPECT_THAT(*objects_->Kept(), ElementsAre());
  // Asked again, it is not answered with the failure.
  EXPECT_EQ(Create(Tarball("no tarball at all")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SourceCatalogTest, ARepeatedRequestIsAnsweredWithTheFirstOnesSource) {
  const std::string bad = "no tarball";
  const auto first = Create(Tarball(bad, Upload(bad)), "alice", std::nullopt, "uuid-1");
  ASSERT_TRUE(first.ok());
  Finished(first->id);
  EXPECT_EQ(Create(Tarball(bad, Upload(bad)), "alice", std::nullopt, "uuid-1")->id, first->id);
  EXPECT_NE(Create(Tarball(bad, Upload(bad)), "alice", std::nullopt, "uuid-2")->id, first->id);
}

TEST_F(SourceCatalogTest, ImportsAFileOnTheServerOnce) {
  const fs::path path = WriteFile("allowed/linux.tar.xz", SmallLinuxTarball("6.1.170"));
  const auto created = Create(ServerPath(path));
  ASSERT_TRUE(created.ok()) << created.status();
  const SourceRecord first = Finished(created->id);
  EXPECT_EQ(first.state, SourceState::kReady);
  EXPECT_EQ(first.origin.sha256, Sha256Hex(SmallLinuxTarball("6.1.170")));
  EXPECT_EQ(Create(ServerPath(path))->id, first.id);
  const auto bob = Create(ServerPath(path), "bob");
  EXPECT_EQ(bob->state, SourceState::kReady);
  EXPECT_NE(bob->id, first.id);
  // The same bytes by upload are the same source.
  EXPECT_EQ(Create(Tarball(SmallLinuxTarball("6.1.170")))->id, first.id);
}

TEST_F(SourceCatalogTest, AChangedFileOnTheServerIsReadAgain) {
  const fs::path path = WriteFile("allowed/linux.tar.xz", SmallLinuxTarball("6.1.170"));
  const SourceRecord first = Finished(Create(ServerPath(path))->id);
  WriteFile("allowed/linux.tar.xz", SmallLinuxTarball("6.1.171"));
  const SourceRecord second = Finished(Create(ServerPath(path))->id);
  EXPECT_NE(second.id, first.id);
  EXPECT_EQ(second.project_version, "6.1.171");
}

TEST_F(SourceCatalogTest, RefusesPathsThatAreNotTheCallers) {
  const fs::path allowed = directory_ / "allowed";
  WriteFile("secret.tar", "x");
  const fs::path hidden = WriteFile("allowed/private/linux.tar.xz", "x");
  const fs::path unreadable = WriteFile("allowed/mine.tar.xz", "x");
  fs::permissions(hidden.parent_path(), fs::perms(0700));
  fs::permissions(unreadable, fs::perms(0600));
  fs::create_symlink("../secret.tar", allowed / "link.tar");
  ASSERT_EQ(::mkfifo((allowed / "fifo.tar").c_str(), 0644), 0);
  const auto expect = [&](const fs::path& path, std::optional<uid_t> reader,
                          absl::StatusCode code) {
    SCOPED_TRACE(path);
    EXPECT_EQ(Create(ServerPath(path), "alice", reader).status().code(), code);
  };
  expect("relative.tar", std::nullopt, absl::StatusCode::kInvalidArgument);
  expect("/etc/shadow", std::nullopt, absl::StatusCode::kPermissionDenied);
  expect(allowed / "../secret.tar", std::nullopt, absl::StatusCode::kPermissionDenied);
  expect(allowed / "link.tar", std::nullopt, absl::StatusCode::kPermissionDenied);
  expect(allowed / "fifo.tar", std::nullopt, absl::StatusCode::kPermissionDenied);
  expect(allowed, std::nullopt, absl::StatusCode::kPermissionDenied);
  expect(allowed / "none.tar", std::nullopt, absl::StatusCode::kNotFound);
  expect(hidden, kNobody, absl::StatusCode::kPermissionDenied);
  expect(unreadable, kNobody, absl::StatusCode::kPermissionDenied);
}

TEST_F(SourceCatalogTest, AnImportThatARestartCutOffStartsAgain) {
  const std::string bytes = SmallLinuxTarball("6.1.170");
  const std::string upload = Upload(bytes);
  const std::string id = Create(Tarball(bytes, upload))->id;
  Finished(id);
  Close();
  {
    // As the records were while it ran.
    std::vector<state::Migration> none;
    auto database = *state::Database::Open(directory_ / "kdbg.db", none);
    ASSERT_TRUE(database
                    ->Write([&](state::Transaction& t) {
                      return t
                          .Execute(
                              "UPDATE sources SET state = 1, tree = '', upload = '', "
                              "origin_kind = 2, origin_text = ?",
                              WriteFile("allowed/a.tar", bytes).string())
                          .status();
                    })
                    .ok());
  }
  {
    absl::MutexLock lock(&mutex_);
    ended_.clear();
  }
  Reopen();
  // It may have ended before anybody could subscribe.
  if (catalog_->Get(id)->state == SourceState::kImporting) Finished(id);
  EXPECT_EQ(catalog_->Get(id)->state, SourceState::kReady);
}

TEST_F(SourceCatalogTest, OpenLetsTreesGoThatNoSourceNames) {
  const SourceRecord record = Import(SmallLinuxTarball("6.1.170"));
  ASSERT_TRUE(objects_->Keep("s-orphan", record.tree).ok());
  ASSERT_TRUE(objects_->Keep("b-build", record.tree).ok());
  Reopen();
  EXPECT_THAT(*objects_->Kept(), ::testing::UnorderedElementsAre("b-build", record.id));
}

TEST_F(SourceCatalogTest, DeletesOnceOrTwice) {
  const SourceRecord record = Import(SmallLinuxTarball("6.1.170"));
  EXPECT_TRUE(catalog_->Delete(record.id).ok());
  EXPECT_TRUE(catalog_->Delete(record.id).ok());
  EXPECT_EQ(catalog_->Get(record.id).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(*objects_->Kept(), ElementsAre());
}

TEST_F(SourceCatalogTest, ListsByOwnerNewestFirst) {
  const std::string one = Import(SmallLinuxTarball("6.1.1")).id;
  const std::string two = Import(SmallLinuxTarball("6.1.2")).id;
  const std::string bobs = Import(SmallLinuxTarball("6.1.3"), "bob").id;
  const auto ids = [&](const SourceCatalog::ListQuery& query) {
    std::vector<std::string> found;
    const std::vector<SourceRecord> records = *catalog_->List(query);
    for (const SourceRecord& record : records) found.push_back(record.id);
    return found;
  };
  EXPECT_THAT(ids({}), ElementsAre(bobs, two, one));
  EXPECT_THAT(ids({.owner = "alice"}), ElementsAre(two, one));
  EXPECT_THAT(ids({.owner = "alice", .limit = 1}), ElementsAre(two));
  EXPECT_THAT(ids({.before_sequence = catalog_->Get(two)->sequence}), ElementsAre(one));
}

}  // namespace
}  // namespace kdbg::source
