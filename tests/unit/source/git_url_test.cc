// Commits of repositories that the server fetches itself.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/subprocess.h"
#include "proto/support/unique_fd.h"
#include "tests/support/git_repository.h"
#include "tests/support/https_server.h"
#include "tests/unit/source/catalog_fixture.h"

namespace kdbg::source {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class GitUrlTest : public CatalogFixture {
 protected:
  GitUrlTest() {
    settings_.remotes.allowed_urls = {"file://" + (directory_ / "remotes").string()};
    settings_.mirrors = directory_ / "mirrors";
    fs::create_directory(settings_.mirrors);
    Reopen();
    remote_.Write("Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n");
    remote_.Write("init/main.c", "int main;\n");
    remote_.Write("kernel/fork.c", "int fork;\n");
    remote_.Commit();
  }
  absl::StatusOr<SourceRecord> Ask(const std::string& ref, std::string_view owner = "alice",
                                   std::optional<uid_t> reader = std::nullopt) {
    SourceOrigin origin;
    origin.kind = OriginKind::kGitUrl;
    origin.text = url_;
    origin.ref = ref;
    return Create(origin, owner, reader);
  }
  SourceRecord Fetch(const std::string& ref, std::string_view owner = "alice") {
    const auto asked = Ask(ref, owner);
    EXPECT_TRUE(asked.ok()) << asked.status();
    return Finished(asked->id);
  }
  // Of all packs in a repository.
  static std::uintmax_t BytesOfPacks(const fs::path& repository) {
    std::uintmax_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(repository / "objects/pack")) {
      if (entry.path().extension() == ".pack") bytes += entry.file_size();
    }
    return bytes;
  }

  GitRepository remote_{directory_ / "remotes/linux"};
  std::string url_ = "file://" + remote_.folder().string();
};

// A server that prints its port.
class PortServer {
 public:
  explicit PortServer(std::vector<std::string> arguments) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const UniqueFd said(ends[0]);
    UniqueFd says(ends[1]);
    Subprocess::Options serve;
    serve.argv = std::move(arguments);
    serve.argv.insert(serve.argv.begin(), "python3");
    serve.descriptors = {{1, says.get()}};
    server_.emplace(*Subprocess::Start(serve));
    says.Reset();
    char next = 0;
    while (::read(said.get(), &next, 1) == 1 && next != '\n') port_ = port_ * 10 + (next - '0');
    EXPECT_GT(port_, 0);
  }
  int port() const { return port_; }

 private:
  std::optional<Subprocess> server_;
  int port_ = 0;
};

// The same repository behind TLS, served by git's own http-backend.
class GitOverHttpsTest : public GitUrlTest {
 protected:
  GitOverHttpsTest() {
    url_ = fmt::format("https://localhost:{}/linux", server_.port());
    settings_.remotes.allowed_urls = {url_};
    settings_.remotes.ca_file = authority_.ca_file();
    Reopen();
  }

  HttpsServer authority_{directory_ / "https"};  // made a certificate
  PortServer server_{{KDBG_GIT_OVER_HTTPS, (directory_ / "remotes").string(),
                      authority_.ca_file().string(), (directory_ / "https/key.pem").string()}};
};

// And behind an ssh server that knows one key.
class GitOverSshTest : public GitUrlTest {
 protected:
  GitOverSshTest() {
    url_ = fmt::format("ssh://127.0.0.1:{}{}", server_.port(), remote_.folder().string());
    settings_.remotes.allowed_urls = {url_};
    settings_.remotes.ssh_config =
        directory_ / "ssh $of `the' team/config";  // as it is, by a shell
    fs::copy(directory_ / "ssh", settings_.remotes.ssh_config.parent_path());
    Reopen();
  }

  PortServer server_{{KDBG_SSH_SERVER, (directory_ / "ssh").string()}};
};

TEST_F(GitUrlTest, ABranchATagAndACommitBecomeSources) {
  remote_.Git({"tag", "v6.1.7"});
  const std::string commit = remote_.Git({"rev-parse", "HEAD"});
  for (const std::string& ref : {std::string("HEAD"), std::string("v6.1.7"), commit}) {
    const SourceRecord source = Fetch(ref);
    ASSERT_EQ(source.state, SourceState::kReady) << source.failure->message;
    EXPECT_EQ(source.origin.tree, commit);
    EXPECT_EQ(source.tree, remote_.Git({"rev-parse", "HEAD^{tree}"}));
    EXPECT_EQ(source.project_version, "6.1.7");
    EXPECT_EQ(source.files_imported, 3);
  }
}

TEST_F(GitUrlTest, OnlyWhatIsNewComesTheSecondTime) {
  std::string noise;
  for (unsigned i = 0; i < 100'000; ++i) noise += std::to_string(i * 2654435761U);
  remote_.Write("noise", noise);
  remote_.Commit();
  Fetch("HEAD");
  const fs::path mirror = fs::directory_iterator(settings_.mirrors)->path();
  const std::uintmax_t mirrored = BytesOfPacks(mirror);
  const std::uintmax_t kept = BytesOfPacks(directory_ / "objects.git");
  remote_.Write("init/main.c", "int changed;\n");
  remote_.Commit();
  const SourceRecord source = Fetch("HEAD", "bob");
  ASSERT_EQ(source.state, SourceState::kReady) << source.failure->message;
  EXPECT_EQ(*objects_->ReadFile(source.tree, "init/main.c"), "int changed;\n");
  EXPECT_LT(BytesOfPacks(mirror) - mirrored, 5000u);
  EXPECT_LT(BytesOfPacks(directory_ / "objects.git") - kept, 5000u);
}

TEST_F(GitUrlTest, WhatWasTakenAndDeletedSinceComesWhole) {
  const SourceRecord first = Fetch("HEAD");
  ASSERT_TRUE(catalog_->Delete(first.id).ok());
  ASSERT_TRUE(objects_->CollectGarbage({}).ok());
  const SourceRecord again = Fetch("HEAD");
  ASSERT_EQ(again.state, SourceState::kReady) << again.failure->message;
  EXPECT_EQ(*objects_->ReadFile(again.tree, "init/main.c"), "int main;\n");
}

TEST_F(GitUrlTest, ARefThatIsNotThereIsNamed) {
  const SourceRecord source = Fetch("no-such-branch");
  ASSERT_EQ(source.state, SourceState::kFailed);
  EXPECT_EQ(source.failure->reason, "REF_NOT_FOUND");
  EXPECT_EQ(source.failure->fault, SourceFault::kCaller);
  EXPECT_THAT(source.failure->message, HasSubstr("has no no-such-branch"));
}

TEST_F(GitUrlTest, ARepositoryThatIsNotThereIsSaidSo) {
  fs::remove_all(remote_.folder());
  const SourceRecord source = Fetch("HEAD");
  ASSERT_EQ(source.state, SourceState::kFailed);
  EXPECT_EQ(source.failure->reason, "REMOTE_REFUSED");
}

TEST_F(GitUrlTest, WhatIsNotAllowedOrNoRefIsRefusedAtOnce) {
  for (const char* ref : {"", "-x", "a..b", "a b", "a:b", "+a", "a^{tree}", "@{u}", "a//b"}) {
    EXPECT_TRUE(HasReason(Ask(ref).status(), Reason::kFieldInvalid)) << ref;
  }
  settings_.remotes.allowed_urls = {"https://git.kernel.org/"};
  Reopen();
  EXPECT_TRUE(HasReason(Ask("HEAD").status(), Reason::kUrlNotAllowed));
  EXPECT_TRUE(catalog_->List({})->empty());
}

TEST_F(GitUrlTest, ARepositoryOnThisHostIsReadWithTheCallersRights) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can take on another user's rights";
  constexpr uid_t kNobody = 65534;
  fs::permissions(directory_ / "remotes", fs::perms(0755));
  const auto readable = Ask("HEAD", "alice", kNobody);
  EXPECT_EQ(Finished(readable->id).state, SourceState::kReady)
      << Finished(readable->id).failure->message;
  fs::permissions(remote_.folder(), fs::perms(0700));
  const auto closed = Ask("HEAD", "alice", kNobody);
  EXPECT_EQ(Finished(closed->id).failure->reason, "REMOTE_REFUSED");
}

TEST_F(GitUrlTest, AMirrorThatNobodyUsesGoes) {
  Fetch("HEAD");
  ASSERT_TRUE(catalog_->RemoveUnusedMirrors(absl::Hours(1)).ok());
  EXPECT_FALSE(fs::is_empty(settings_.mirrors));
  ASSERT_TRUE(catalog_->RemoveUnusedMirrors(-absl::Hours(1)).ok());
  EXPECT_TRUE(fs::is_empty(settings_.mirrors));
}

TEST_F(GitOverHttpsTest, ABranchComesAndLaterWhatIsNew) {
  ASSERT_EQ(Fetch("HEAD").state, SourceState::kReady);
  remote_.Write("init/main.c", "int changed;\n");
  remote_.Commit();
  const SourceRecord source = Fetch("HEAD");
  ASSERT_EQ(source.state, SourceState::kReady) << source.failure->message;
  EXPECT_EQ(source.tree, remote_.Git({"rev-parse", "HEAD^{tree}"}));
  EXPECT_EQ(*objects_->ReadFile(source.tree, "init/main.c"), "int changed;\n");
}

TEST_F(GitOverHttpsTest, AServerThatNobodyVouchesForIsRefused) {
  settings_.remotes.ca_file = "/dev/null";
  Reopen();
  const SourceRecord source = Fetch("HEAD");
  ASSERT_EQ(source.state, SourceState::kFailed);
  EXPECT_EQ(source.failure->reason, "REMOTE_REFUSED");
  EXPECT_THAT(source.failure->message, HasSubstr("certificate"));
}

TEST_F(GitOverSshTest, ABranchComesAndLaterWhatIsNew) {
  const SourceRecord first = Fetch("HEAD");
  ASSERT_EQ(first.state, SourceState::kReady) << first.failure->message;
  remote_.Write("init/main.c", "int changed;\n");
  remote_.Commit();
  const SourceRecord source = Fetch("HEAD");
  ASSERT_EQ(source.state, SourceState::kReady) << source.failure->message;
  EXPECT_EQ(*objects_->ReadFile(source.tree, "init/main.c"), "int changed;\n");
}

TEST_F(GitOverSshTest, AHostThatIsNotKnownIsRefused) {
  fs::remove(directory_ / "ssh/known_hosts");
  const SourceRecord source = Fetch("HEAD");
  ASSERT_EQ(source.state, SourceState::kFailed);
  EXPECT_EQ(source.failure->reason, "REMOTE_REFUSED");
  EXPECT_THAT(source.failure->message, HasSubstr("Host key verification failed"));
}

TEST_F(GitOverSshTest, AKeyThatTheServerDoesNotKnowIsRefusedAndNoPasswordIsAskedFor) {
  fs::remove(directory_ / "ssh/id");
  const SourceRecord source = Fetch("HEAD");
  ASSERT_EQ(source.state, SourceState::kFailed);
  EXPECT_EQ(source.failure->reason, "REMOTE_REFUSED");
  EXPECT_THAT(source.failure->message, HasSubstr("Permission denied (publickey)"));
}

}  // namespace
}  // namespace kdbg::source
