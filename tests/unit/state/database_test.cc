#include "server/state/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "proto/contract/error.h"
#include "server/base/clock.h"

namespace kdbg::state {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr Migration kThings[] = {
    {"things", 1,
     "CREATE TABLE things (name TEXT PRIMARY KEY, size INTEGER, time INTEGER);"
     "CREATE INDEX things_by_size ON things (size)"},
    {"things", 2, "ALTER TABLE things ADD COLUMN color TEXT NOT NULL DEFAULT 'red'"},
};

class DatabaseTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "kdbg-state-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    path_ = directory_ / "kdbg.db";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<Database> Open(std::span<const Migration> migrations = kThings) {
    auto database = Database::Open(path_, migrations);
    EXPECT_TRUE(database.ok()) << database.status();
    return *std::move(database);
  }
  static absl::Status Insert(Database& database, const std::string& name, int size) {
    return database.Write([&](Transaction& t) {
      return t.Execute("INSERT INTO things (name, size) VALUES (?, ?)", name, size).status();
    });
  }
  static std::vector<std::string> Names(const Database& database) {
    std::vector<std::string> names;
    const absl::Status status = database.Read([&](Transaction& t) {
      return t.Query("SELECT name FROM things ORDER BY name", [&](const Row& row) {
        names.push_back(row.Text(0));
        return absl::OkStatus();
      });
    });
    EXPECT_TRUE(status.ok()) << status;
    return names;
  }

  std::filesystem::path directory_;
  std::filesystem::path path_;
};

TEST_F(DatabaseTest, KeepsWhatWasCommittedOverAReopen) {
  ASSERT_TRUE(Insert(*Open(), "a", 1).ok());
  EXPECT_THAT(Names(*Open()), ElementsAre("a"));
}

TEST_F(DatabaseTest, RollsBackWhenTheBodyFails) {
  auto database = Open();
  bool told = false;
  const absl::Status status = database->Write([&](Transaction& t) -> absl::Status {
    t.AfterCommit([&] { told = true; });
    EXPECT_TRUE(t.Execute("INSERT INTO things (name) VALUES ('a')").ok());
    return absl::AbortedError("no");
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(Names(*database), ElementsAre());
  EXPECT_FALSE(told);
  EXPECT_TRUE(Insert(*database, "b", 1).ok());
}

TEST_F(DatabaseTest, BindsAndReadsEveryKindOfValue) {
  auto database = Open();
  const absl::Time time = absl::FromUnixMicros(1'700'000'000'123'456);
  const std::string name("a\0b", 3);
  ASSERT_TRUE(database
                  ->Write([&](Transaction& t) {
                    return t
                        .Execute("INSERT INTO things (name, size, time) VALUES (?, ?, ?)", name,
                                 std::int64_t{1} << 40, time)
                        .status();
                  })
                  .ok());
  int rows = 0;
  ASSERT_TRUE(database
                  ->Read([&](Transaction& t) {
                    return t.Query(
                        "SELECT name, size, time, color, NULL FROM things WHERE name = ?", name,
                        [&](const Row& row) {
                          ++rows;
                          EXPECT_EQ(row.Text(0), name);
                          EXPECT_EQ(row.Integer(1), std::int64_t{1} << 40);
                          EXPECT_EQ(row.Time(2), time);
                          EXPECT_EQ(row.Text(3), "red");
                          EXPECT_TRUE(row.IsNull(4));
                          EXPECT_EQ(row.OptionalTime(4), std::nullopt);
                          return absl::OkStatus();
                        });
                  })
                  .ok());
  EXPECT_EQ(rows, 1);
}

TEST_F(DatabaseTest, AppliesOnlyMissingMigrations) {
  ASSERT_TRUE(Insert(*Open(std::span(kThings).first(1)), "old", 1).ok());
  EXPECT_THAT(Names(*Open()), ElementsAre("old"));
  EXPECT_THAT(Names(*Open()), ElementsAre("old"));
}

TEST_F(DatabaseTest, LeavesNothingOfAFailedMigration) {
  constexpr Migration kBad[] = {
      {"things", 1, "CREATE TABLE things (name TEXT); CREATE TABLE things (name TEXT)"}};
  EXPECT_FALSE(Database::Open(path_, kBad).ok());
  EXPECT_THAT(Names(*Open()), ElementsAre());
}

TEST_F(DatabaseTest, RefusesAFileOfANewerVersion) {
  Open();
  const auto older = Database::Open(path_, std::span(kThings).first(1));
  EXPECT_EQ(older.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(older.status().message()), HasSubstr("newer kdbgd"));
}

TEST_F(DatabaseTest, RefusesASecondDaemon) {
  auto first = Open();
  const auto second = Database::Open(path_, kThings);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  first.reset();
  Open();
}

TEST_F(DatabaseTest, RefusesADamagedFileAndLeavesItAlone) {
  {
    auto database = Open();
    for (int i = 0; i < 500; ++i) ASSERT_TRUE(Insert(*database, std::to_string(i), i).ok());
  }
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096 + 100);
    file << std::string(8192, '\x5a');
  }
  const auto size = std::filesystem::file_size(path_);
  const auto damaged = Database::Open(path_, kThings);
  EXPECT_EQ(damaged.status().code(), absl::StatusCode::kDataLoss) << damaged.status();
  EXPECT_TRUE(HasReason(damaged.status(), Reason::kDataCorrupt));
  EXPECT_EQ(std::filesystem::file_size(path_), size);
}

TEST_F(DatabaseTest, RefusesAFileThatIsNoDatabase) {
  std::ofstream(path_) << std::string(10'000, 'x');
  EXPECT_EQ(Database::Open(path_, kThings).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(DatabaseTest, FullDiskIsResourceExhaustedAndReadsGoOn) {
  auto database = Open();
  ASSERT_TRUE(Insert(*database, "a", 1).ok());
  // SQLite's own way of having no room: no page beyond those there are.
  ASSERT_TRUE(database
                  ->Write([](Transaction& t) {
                    return t.Query("PRAGMA max_page_count = 1",
                                   [](const Row&) { return absl::OkStatus(); });
                  })
                  .ok());
  absl::Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) {
    status = Insert(*database, std::string(1000, 'b') + std::to_string(i), i);
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(HasReason(status, Reason::kDiskFull)) << status;
  EXPECT_FALSE(Names(*database).empty());
  ASSERT_TRUE(database
                  ->Write([](Transaction& t) {
                    return t.Query("PRAGMA max_page_count = 1000000",
                                   [](const Row&) { return absl::OkStatus(); });
                  })
                  .ok());
  EXPECT_TRUE(Insert(*database, "room again", 1).ok());
}

TEST_F(DatabaseTest, DuplicateKeyIsAlreadyExists) {
  auto database = Open();
  ASSERT_TRUE(Insert(*database, "a", 1).ok());
  EXPECT_EQ(Insert(*database, "a", 2).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(DatabaseTest, WrongSqlIsInternal) {
  auto database = Open();
  EXPECT_EQ(
      database->Write([](Transaction& t) { return t.Execute("DELETE FROM nothing").status(); })
          .code(),
      absl::StatusCode::kInternal);
}

TEST_F(DatabaseTest, AReaderCannotWrite) {
  auto database = Open();
  EXPECT_FALSE(
      database->Read([](Transaction& t) { return t.Execute("DELETE FROM things").status(); }).ok());
}

TEST_F(DatabaseTest, ACallbackMayRunTheSameStatementAgain) {
  auto database = Open();
  ASSERT_TRUE(Insert(*database, "a", 1).ok());
  ASSERT_TRUE(Insert(*database, "b", 2).ok());
  int inner = 0;
  constexpr std::string_view kAll = "SELECT name FROM things";
  ASSERT_TRUE(database
                  ->Read([&](Transaction& t) {
                    return t.Query(kAll, [&](const Row&) {
                      return t.Query(kAll, [&](const Row&) {
                        ++inner;
                        return absl::OkStatus();
                      });
                    });
                  })
                  .ok());
  EXPECT_EQ(inner, 4);
}

TEST_F(DatabaseTest, EventsComeInTheOrderOfCommits) {
  auto database = Open();
  std::vector<int> committed;  // both guarded by the writer lock or by delivery being one at a time
  std::vector<int> told;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 25; ++i) {
        const int number = thread * 100 + i;
        EXPECT_TRUE(database
                        ->Write([&](Transaction& t) {
                          committed.push_back(number);
                          t.AfterCommit([&, number] { told.push_back(number); });
                          return absl::OkStatus();
                        })
                        .ok());
      }
    });
  }
  threads.clear();
  EXPECT_EQ(told, committed);
}

TEST_F(DatabaseTest, AnEventMayWriteAgain) {
  auto database = Open();
  ASSERT_TRUE(database
                  ->Write([&](Transaction& t) {
                    t.AfterCommit([&] { EXPECT_TRUE(Insert(*database, "from event", 1).ok()); });
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_THAT(Names(*database), ElementsAre("from event"));
}

TEST_F(DatabaseTest, ReadersDoNotWaitForAWriter) {
  auto database = Open();
  ASSERT_TRUE(Insert(*database, "a", 1).ok());
  ASSERT_TRUE(database
                  ->Write([&](Transaction& t) -> absl::Status {
                    EXPECT_TRUE(t.Execute("INSERT INTO things (name) VALUES ('b')").ok());
                    EXPECT_THAT(Names(*database), ElementsAre("a"));
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_THAT(Names(*database), ElementsAre("a", "b"));
}

}  // namespace
}  // namespace kdbg::state
