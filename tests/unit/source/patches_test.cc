// Patches over a source: what applies, what is said when it does not, and what a patch cannot get
// at.
#include "server/source/patches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proto/contract/error.h"
#include "tests/support/git_repository.h"
#include "tests/unit/source/catalog_fixture.h"

namespace kdbg::source {
namespace {

using ::testing::HasSubstr;

class PatchesTest : public CatalogFixture {
 protected:
  PatchesTest() {
    std::string main;
    for (int i = 1; i <= 40; ++i) main += "line " + std::to_string(i) + "\n";
    work_.Write("Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n");
    work_.Write("init/main.c", main);
    work_.Write("kernel/fork.c", "int fork;\n");
    const std::string tree = work_.Commit();
    SourceRequest request;
    request.owner = "alice";
    request.origin.kind = OriginKind::kGitPack;
    request.origin.tree = tree;
    request.pack = work_.PackOfDifference(tree, "");
    base_ = *catalog_->Create(request);
  }
  absl::StatusOr<SourceRecord> Apply(const std::vector<Patch>& patches) {
    SourceRequest request;
    request.owner = "alice";
    request.origin.kind = OriginKind::kPatched;
    request.origin.ref = base_.id;
    request.patches = patches;
    return catalog_->Create(request);
  }
  // The difference that an edit of the work tree makes; the work tree is as before.
  std::string DiffOf(const std::string& path, const std::string& text,
                     const std::vector<std::string>& options = {}) {
    work_.Write(path, text);
    work_.Git({"add", "-A"});
    std::vector<std::string> arguments = {"diff", "--cached"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    std::string diff = work_.Git(arguments) + "\n";
    work_.Git({"reset", "-q", "--hard"});
    return diff;
  }
  std::string FileOf(const SourceRecord& source, const std::string& path) {
    const auto text = objects_->ReadFile(source.tree, path);
    return text.ok() ? *text : text.status().ToString();
  }
  // Line `number` of init/main.c, which is `old` now, with a line of context on each side.
  static std::string Line(int number, const std::string& with, const std::string& old) {
    const std::string at = std::to_string(number - 1);
    return "--- a/init/main.c\n+++ b/init/main.c\n@@ -" + at + ",3 +" + at + ",3 @@\n line " + at +
           "\n-" + old + "\n+" + with + "\n line " + std::to_string(number + 1) + "\n";
  }

  GitRepository work_{directory_ / "work"};
  SourceRecord base_;
};

TEST_F(PatchesTest, ADiffMakesASourceThatIsReadyAtOnce) {
  const std::string diff = DiffOf("kernel/fork.c", "int fork;\nint spoon;\n");
  const auto source = Apply({{"fork.patch", diff}});
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(source->state, SourceState::kReady);
  EXPECT_EQ(FileOf(*source, "kernel/fork.c"), "int fork;\nint spoon;\n");
  EXPECT_EQ(FileOf(*source, "init/main.c"), FileOf(base_, "init/main.c"));
  EXPECT_EQ(source->project_version, "6.1.7");
  EXPECT_EQ(source->files_imported, 3);
  EXPECT_EQ(FileOf(base_, "kernel/fork.c"), "int fork;\n");
}

TEST_F(PatchesTest, TheSamePatchesAgainAreTheSameSource) {
  const std::string diff = DiffOf("new.c", "int x;\n");
  EXPECT_EQ(Apply({{"a.patch", diff}})->id, Apply({{"b.patch", diff}})->id);
}

TEST_F(PatchesTest, TheyApplyInOrderEachOverTheLast) {
  const auto source = Apply({{"1", Line(5, "five", "line 5")}, {"2", Line(5, "5", "five")}});
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT(FileOf(*source, "init/main.c"), HasSubstr("line 4\n5\nline 6\n"));
}

TEST_F(PatchesTest, FilesComeGoAndMove) {
  const auto source =
      Apply({{"p",
              "diff --git a/kernel/fork.c b/kernel/spoon.c\nsimilarity index 100%\n"
              "rename from kernel/fork.c\nrename to kernel/spoon.c\n"
              "diff --git a/run.sh b/run.sh\nnew file mode 100755\n--- /dev/null\n+++ b/run.sh\n"
              "@@ -0,0 +1 @@\n+#!/bin/sh\n"}});
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(FileOf(*source, "kernel/spoon.c"), "int fork;\n");
  EXPECT_EQ(FileOf(*source, "run.sh"), "#!/bin/sh\n");
  EXPECT_FALSE(objects_->ReadFile(source->tree, "kernel/fork.c").ok());
}

TEST_F(PatchesTest, MailsAreOpenedAndAMailboxIsAllOfThem) {
  const auto mail = [](const std::string& subject, const std::string& body) {
    return "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n"
           "From: A <a@example.org>\nDate: Mon, 17 Sep 2001 00:00:00 +0000\nSubject: [PATCH] " +
           subject + "\n\nWhy.\n---\n init/main.c | 2 +-\n\n" + body + "-- \n2.39.2\n\n";
  };
  const std::string box = mail("cover", "") + mail("one", Line(10, "tenth", "line 10")) +
                          mail("two", Line(20, "twentieth", "line 20"));
  const auto source = Apply({{"series.mbox", box}});
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_THAT(FileOf(*source, "init/main.c"),
              ::testing::AllOf(HasSubstr("tenth\nline 11"), HasSubstr("twentieth\nline 21")));
  const auto refused = Apply({{"series.mbox", mail("wrong", Line(2, "x", "y"))}});
  EXPECT_THAT(refused.status().message(), HasSubstr("series.mbox (\"wrong\"): its hunk"));
}

TEST_F(PatchesTest, OneThatDoesNotFitNamesItsHunk) {
  const auto refused =
      Apply({{"good", Line(10, "tenth", "line 10")},
             {"bad.patch", Line(3, "third", "line 3") +
                               "@@ -20,3 +20,2 @@ int main(void)\n no\n-such\n line\n"}});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(HasReason(refused.status(), Reason::kPatchDoesNotApply)) << refused.status();
  const ErrorMetadata metadata = GetErrorDetail(refused.status())->metadata;
  EXPECT_EQ(metadata.at("patch"), "bad.patch");
  EXPECT_EQ(metadata.at("file"), "init/main.c");
  EXPECT_EQ(metadata.at("hunk"), "@@ -20,3 +20,2 @@ int main(void)");
  EXPECT_EQ(catalog_->List({})->size(), 1u);
}

TEST_F(PatchesTest, AFileThatIsNotThereIsNamed) {
  const auto refused = Apply({{"p", "--- a/no/such.c\n+++ b/no/such.c\n@@ -1 +1 @@\n-a\n+b\n"}});
  EXPECT_TRUE(HasReason(refused.status(), Reason::kPatchDoesNotApply));
  EXPECT_THAT(refused.status().message(), HasSubstr("no/such.c is not in this source"));
}

TEST_F(PatchesTest, WhatIsNoPatchIsSaidToBeNone) {
  for (const char* text : {"", "hello\n", "From: a@b\nSubject: hi\n\nno patch here\n",
                           "--- a/init/main.c\n+++ b/init/main.c\n@@ -1,9 +1,9 @@\n line 1\n"}) {
    const auto refused = Apply({{"p", text}});
    EXPECT_TRUE(HasReason(refused.status(), Reason::kPatchInvalid)) << text << refused.status();
  }
}

TEST_F(PatchesTest, NoPathLeadsOutOfTheTree) {
  for (const char* path : {"../outside", ".git/config", "a/../../b", "/etc/passwd"}) {
    const std::string name(path);
    const auto refused = Apply({{"p", "--- /dev/null\n+++ b/" + name + "\n@@ -0,0 +1 @@\n+x\n"}});
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument)
        << name << " " << refused.status();
  }
}

// A binary patch names what it makes by its id, and git takes it from there when it has it.
TEST_F(PatchesTest, NothingOfOthersCanBeHadByItsId) {
  GitRepository secret(directory_ / "secret");
  secret.Write("secret", std::string("\0the key\n", 9));
  const std::string tree = secret.Commit();
  SourceRequest of_bob;
  of_bob.owner = "bob";
  of_bob.origin.kind = OriginKind::kGitPack;
  of_bob.origin.tree = tree;
  of_bob.pack = secret.PackOfDifference(tree, "");
  ASSERT_TRUE(catalog_->Create(of_bob).ok());
  const std::string id = secret.Git({"rev-parse", "HEAD:secret"});
  const auto stolen =
      Apply({{"p", "diff --git a/loot b/loot\nnew file mode 100644\nindex " + std::string(40, '0') +
                       ".." + id + "\nBinary files /dev/null and b/loot differ\n"}});
  EXPECT_EQ(stolen.status().code(), absl::StatusCode::kInvalidArgument) << stolen.status();
}

TEST_F(PatchesTest, ADiffWithItsOwnHeadersIsNoMail) {
  EXPECT_FALSE(IsMail("Index: linux/init/main.c\n=====\n--- a\n+++ b\n"));
  EXPECT_FALSE(IsMail("what it does\n\nFrom: nobody\n--- a\n+++ b\n"));
  EXPECT_TRUE(IsMail("Return-Path: <a@b>\nFrom: A <a@b>\nSubject: x\n\n---\n"));
  EXPECT_TRUE(IsMail("From 0123 Mon Sep 17 00:00:00 2001\n"));
}

}  // namespace
}  // namespace kdbg::source
