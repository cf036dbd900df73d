// What Prometheus is told of a daemon that is used.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/synchronization/notification.h"
#include "tests/contract/kit/test_daemon.h"
#include "tests/support/gdb_client.h"

namespace kdbg {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class MetricsTest : public testing::Test {
 protected:
  MetricsTest() { daemon_.Scrape(); }

  v1::Session CreateReady() {
    v1::CreateSessionRequest request;
    request.mutable_session()->mutable_stop_point()->set_reset(true);
    request.mutable_session()->set_initramfs("none");
    grpc::ClientContext context;
    v1::Session session;
    EXPECT_TRUE(alice_.sessions->CreateSession(&context, request, &session).ok());
    return Await(session.name(), v1::Session::READY);
  }

  v1::Session Await(const std::string& name, v1::Session::State state) {
    grpc::ClientContext context;
    v1::GetSessionRequest request;
    request.set_name(name);
    const auto reader = alice_.sessions->WatchSession(&context, request);
    v1::Session now;
    while (reader->Read(&now) && now.state() != state) {
    }
    EXPECT_EQ(now.state(), state);
    context.TryCancel();
    reader->Finish();
    return now;
  }

  // What ends is told to who waits for it and to the metrics in any order.
  std::string AwaitLine(const std::string& line) {
    std::string text;
    const absl::Time deadline = absl::Now() + absl::Seconds(10);
    do {
      text = daemon_.Scrape();
    } while (text.find(line + "\n") == std::string::npos && absl::Now() < deadline);
    EXPECT_THAT(text, HasSubstr(line + "\n"));
    return text;
  }

  TestDaemon daemon_;
  Client alice_ = daemon_.As(kAlice);
};

TEST_F(MetricsTest, ASessionIsCountedWhenItIsReadyWhileItLastsAndWhenItEnds) {
  daemon_.SeedKernel("alice");
  const v1::Session session = CreateReady();
  {
    gdb::GdbClient gdb(session.gdb().port());
    gdb.Attach();
    const std::string text = daemon_.Scrape();
    EXPECT_THAT(text, HasSubstr("kdbgd_sessions{state=\"ready\"} 1"));
    EXPECT_THAT(text, HasSubstr("kdbgd_session_ready_seconds_count{origin=\"cold\"} 1"));
    EXPECT_THAT(text, HasSubstr("kdbgd_gdb_clients_total{outcome=\"attached\"} 1"));
    EXPECT_THAT(text, HasSubstr("kdbgd_gdb_packets_total{peer=\"client\",direction=\"received\"}"));
    EXPECT_THAT(text, Not(HasSubstr("{peer=\"client\",direction=\"received\"} 0")));
  }
  grpc::ClientContext context;
  v1::DeleteSessionRequest request;
  request.set_name(session.name());
  google::protobuf::Empty nothing;
  ASSERT_TRUE(alice_.sessions->DeleteSession(&context, request, &nothing).ok());
  Await(session.name(), v1::Session::ENDED);
  const std::string text = AwaitLine("kdbgd_sessions_ended_total{reason=\"deleted\"} 1");
  EXPECT_THAT(text, HasSubstr("kdbgd_sessions{state=\"ready\"} 0"));
  // The change when gdb came was none of its being ready.
  EXPECT_THAT(text, HasSubstr("kdbgd_session_ready_seconds_count{origin=\"cold\"} 1"));
  EXPECT_THAT(text, HasSubstr("kdbgd_rpcs_total{code=\"OK\",method=\"SessionService/"
                              "CreateSession\"} 1"));
}

TEST_F(MetricsTest, ABuildIsCountedWhileItRunsAndByHowItEnds) {
  absl::Notification running;
  daemon_.runner().Expect({.output = "",
                           .error = {},
                           .result = {},
                           .until_cancelled = true,
                           .effect = [&](const host::Sandbox&) { running.Notify(); }});
  v1::CreateBuildRequest request;
  request.mutable_build()->set_source(
      daemon_.Import(alice_, {{"Makefile", "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 7\n"},
                              {"Kconfig", ""},
                              {"kernel/fork.c", ""},
                              {"init/main.c", ""}}));
  request.mutable_build()->mutable_kernel();
  v1::Build build;
  grpc::ClientContext create;
  ASSERT_TRUE(alice_.builds->CreateBuild(&create, request, &build).ok());
  running.WaitForNotification();
  std::string text = daemon_.Scrape();
  EXPECT_THAT(text, HasSubstr("kdbgd_builds{state=\"running\"} 1"));
  EXPECT_THAT(text, Not(HasSubstr("kdbgd_upload_bytes_total 0")));
  v1::CancelBuildRequest cancel;
  cancel.set_name(build.name());
  grpc::ClientContext context;
  ASSERT_TRUE(alice_.builds->CancelBuild(&context, cancel, &build).ok());
  text = AwaitLine("kdbgd_builds_total{kind=\"kernel\",result=\"cancelled\"} 1");
  EXPECT_THAT(text, HasSubstr("kdbgd_builds{state=\"running\"} 0"));
}

TEST_F(MetricsTest, TheStoreIsMeasuredEqualFilesOnce) {
  daemon_.SeedKernel("alice");
  const std::string once = daemon_.Scrape();
  EXPECT_THAT(once, HasSubstr("kdbgd_artifacts 1"));
  EXPECT_THAT(once, HasSubstr("kdbgd_store_blobs 3"));
  daemon_.SeedKernel("alice");
  const std::string twice = daemon_.Scrape();
  EXPECT_THAT(twice, HasSubstr("kdbgd_artifacts 2"));
  EXPECT_THAT(twice, HasSubstr("kdbgd_store_blobs 3"));
}

TEST_F(MetricsTest, NobodyIsNamed) {
  daemon_.SeedKernel("alice");
  const std::string id = CreateReady().name();
  const std::string text = daemon_.Scrape();
  EXPECT_THAT(text, Not(HasSubstr("alice")));
  EXPECT_THAT(text, Not(HasSubstr(id.substr(id.find('/') + 1))));
}

}  // namespace
}  // namespace kdbg
