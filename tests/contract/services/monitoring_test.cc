// What the admin reads of the metrics: the manual, the dashboard and the alerts are true.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <re2/re2.h>

#include <filesystem>
#include <set>
#include <string>

#include "proto/support/file.h"
#include "tests/contract/kit/test_daemon.h"

namespace kdbg {
namespace {

using ::testing::IsSubsetOf;

std::set<std::string> NamesIn(const std::string& text, const char* pattern) {
  std::set<std::string> names;
  re2::StringPiece rest(text);
  for (std::string name; RE2::FindAndConsume(&rest, pattern, &name);) names.insert(name);
  return names;
}

std::set<std::string> Exposed(const std::string& scrape) {
  std::set<std::string> names;
  for (const std::string& name : NamesIn(scrape, R"((?m)^# TYPE (kdbgd_\w+) )")) {
    names.insert(name);
    if (scrape.find("# TYPE " + name + " histogram") == std::string::npos) continue;
    for (const char* part : {"_bucket", "_sum", "_count"}) names.insert(name + part);
  }
  return names;
}

class MonitoringTest : public testing::Test {
 protected:
  MonitoringTest() {
    daemon_.Scrape();
    // No call is timed before there is one.
    grpc::ClientContext context;
    v1::ServerInfo info;
    EXPECT_TRUE(daemon_.As(kAlice).server->GetServerInfo(&context, {}, &info).ok());
    scrape_ = daemon_.Scrape();
  }

  TestDaemon daemon_;
  std::string scrape_;
};

TEST_F(MonitoringTest, TheManualNamesEveryMetricAndNoOther) {
  const auto exposed = NamesIn(scrape_, R"((?m)^# TYPE (kdbgd_\w+) )");
  EXPECT_EQ(NamesIn(ReadFile(KDBG_MANUAL).value(), R"(\b(kdbgd_\w+))"), exposed);
}

TEST_F(MonitoringTest, TheDashboardAndTheAlertsNameOnlyWhatIsThere) {
  const std::set<std::string> exposed = Exposed(scrape_);
  int files = 0;
  for (const auto& file : std::filesystem::directory_iterator(KDBG_MONITORING)) {
    SCOPED_TRACE(file.path());
    const auto named = NamesIn(ReadFile(file.path()).value(), R"(\b(kdbgd_\w+))");
    EXPECT_FALSE(named.empty());
    EXPECT_THAT(named, IsSubsetOf(exposed));
    ++files;
  }
  EXPECT_EQ(files, 2);
}

}  // namespace
}  // namespace kdbg
