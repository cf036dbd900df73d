// Downloads from a real server with TLS, and tarballs that come so.
#include "server/source/download.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "tests/support/https_server.h"
#include "tests/support/tarball.h"
#include "tests/unit/source/catalog_fixture.h"

namespace kdbg::source {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Request = HttpsServer::Request;

class DownloadTest : public CatalogFixture {
 protected:
  DownloadTest() {
    rules_.allowed_urls = {server_.url("/pub/")};
    rules_.ca_file = server_.ca_file();
    rules_.pause = absl::Milliseconds(1);
    for (int i = 0; i < 30'000; ++i) large_ += std::to_string(i) + ",";
  }
  // What came, or the error's text.
  absl::StatusOr<std::string> Get(const std::string& path, const std::stop_token& stop = {}) {
    const std::filesystem::path file = directory_ / "downloaded";
    const UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const absl::Status done = Download(server_.url(path), rules_, fd, nullptr, stop);
    if (!done.ok()) return done;
    return kdbg::ReadFile(file);
  }

  HttpsServer server_{directory_ / "https"};
  RemoteRules rules_;
  std::string large_;
};

TEST_F(DownloadTest, AFileComesWhole) {
  server_.Set("/pub/a", {.content = large_});
  server_.Set("/pub/empty", {.content = ""});
  EXPECT_EQ(*Get("/pub/a"), large_);
  EXPECT_EQ(*Get("/pub/empty"), "");
}

TEST_F(DownloadTest, WhatBrokeOffGoesOnWhereItBroke) {
  server_.Set("/pub/a", {.content = large_, .tag = "\"1\"", .break_after = 100'000, .breaks = 1});
  EXPECT_EQ(*Get("/pub/a"), large_);
  const auto requests = server_.requests();
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_EQ(requests[0].range, "");
  EXPECT_THAT(requests[1].range, HasSubstr("bytes="));
  EXPECT_NE(requests[1].range, "bytes=0-");
}

TEST_F(DownloadTest, AFileThatChangedMeanwhileBeginsAnew) {
  server_.Set("/pub/a", {.content = large_,
                         .tag = "\"1\"",
                         .break_after = 100'000,
                         .breaks = 1,
                         .content_after = "another"});
  EXPECT_EQ(*Get("/pub/a"), "another");
}

TEST_F(DownloadTest, WithoutATagItBeginsAnew) {
  server_.Set("/pub/a", {.content = large_, .break_after = 100'000, .breaks = 1});
  EXPECT_EQ(*Get("/pub/a"), large_);
  EXPECT_EQ(server_.requests()[1].range, "");
}

TEST_F(DownloadTest, AServerThatBreaksOffForEverIsGivenUp) {
  server_.Set("/pub/a", {.content = large_, .tag = "\"1\"", .break_after = 0, .breaks = 1000});
  EXPECT_TRUE(HasReason(Get("/pub/a").status(), Reason::kRemoteUnavailable));
  EXPECT_LT(server_.requests().size(), 10u);
}

TEST_F(DownloadTest, AnErrorForNowIsTriedAgainAndOneForGoodIsNot) {
  server_.Set("/pub/busy", {.status = 503});
  EXPECT_TRUE(HasReason(Get("/pub/busy").status(), Reason::kRemoteUnavailable));
  EXPECT_GT(server_.requests().size(), 1u);
  const std::size_t before = server_.requests().size();
  const absl::Status missing = Get("/pub/missing").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("404"));
  EXPECT_EQ(server_.requests().size(), before + 1);
}

TEST_F(DownloadTest, ARedirectIsFollowedOnlyToWhereOneMayGo) {
  server_.Set("/pub/here", {.redirect = server_.url("/pub/there")});
  server_.Set("/pub/there", {.content = "there"});
  server_.Set("/pub/out", {.redirect = server_.url("/private/x")});
  server_.Set("/pub/plain", {.redirect = "http://localhost/pub/x"});
  server_.Set("/pub/round", {.redirect = server_.url("/pub/round")});
  server_.Set("/private/x", {.content = "secret"});
  EXPECT_EQ(*Get("/pub/here"), "there");
  EXPECT_TRUE(HasReason(Get("/pub/out").status(), Reason::kUrlNotAllowed));
  EXPECT_FALSE(Get("/pub/plain").ok());
  EXPECT_TRUE(HasReason(Get("/pub/round").status(), Reason::kRemoteRefused));
  EXPECT_THAT(server_.requests(), ::testing::Not(::testing::Contains(Request{"/private/x", ""})));
}

TEST_F(DownloadTest, AServerNobodyVouchesForIsRefused) {
  rules_.ca_file.clear();
  server_.Set("/pub/a", {.content = "a"});
  const absl::Status refused = Get("/pub/a").status();
  EXPECT_TRUE(HasReason(refused, Reason::kRemoteRefused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("certificate"));
}

TEST_F(DownloadTest, WhatIsTooLargeIsRefused) {
  server_.Set("/pub/a", {.content = large_});
  rules_.maximum_bytes = 1000;
  EXPECT_TRUE(HasReason(Get("/pub/a").status(), Reason::kArchiveTooLarge));
}

TEST_F(DownloadTest, StopEndsAPause) {
  server_.Set("/pub/busy", {.status = 503});
  rules_.pause = absl::Hours(1);
  std::stop_source stop;
  absl::Notification done;
  std::jthread download([&] {
    EXPECT_TRUE(absl::IsCancelled(Get("/pub/busy", stop.get_token()).status()));
    done.Notify();
  });
  stop.request_stop();
  done.WaitForNotification();
}

TEST_F(DownloadTest, ATarballOfAUrlBecomesASource) {
  settings_.remotes = rules_;
  settings_.mirrors = directory_ / "mirrors";
  std::filesystem::create_directory(settings_.mirrors);
  Reopen();
  const std::string tarball = SmallLinuxTarball("6.1.7");
  server_.Set("/pub/linux.tar.xz", {.content = tarball, .tag = "\"1\""});
  SourceOrigin origin;
  origin.kind = OriginKind::kTarballUrl;
  origin.text = server_.url("/pub/linux.tar.xz");
  const SourceRecord source = Finished(Create(origin)->id);
  ASSERT_EQ(source.state, SourceState::kReady) << source.failure->message;
  EXPECT_EQ(source.project_version, "6.1.7");
  EXPECT_EQ(source.origin.sha256, Sha256Hex(tarball));
  // Known by its digest: nothing is fetched again.
  origin.ref = Sha256Hex(tarball);
  const std::size_t before = server_.requests().size();
  EXPECT_EQ(Create(origin)->id, source.id);
  EXPECT_EQ(server_.requests().size(), before);
  // A digest alone is no proof of having the bytes.
  const auto of_bob = Create(origin, "bob");
  EXPECT_EQ(Finished(of_bob->id).state, SourceState::kReady);
  EXPECT_EQ(server_.requests().size(), before + 1);
  origin.ref = std::string(64, '0');
  const SourceRecord wrong = Finished(Create(origin)->id);
  EXPECT_EQ(wrong.state, SourceState::kFailed);
  EXPECT_EQ(wrong.failure->reason, "DIGEST_MISMATCH");
}

}  // namespace
}  // namespace kdbg::source
