#include "server/observe/metrics_listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/http_get.h"

namespace kdbg::observe {
namespace {

using ::testing::HasSubstr;

class MetricsListenerTest : public ::testing::Test {
 protected:
  const Metrics metrics_{"1.2.3", {}, [] { return Reading(); }};
};

TEST_F(MetricsListenerTest, ServesTheMetricsAndNothingElse) {
  const auto listener = MetricsListener::Start("127.0.0.1:0", metrics_);
  ASSERT_TRUE(listener.ok()) << listener.status();
  const int port = (*listener)->port();
  EXPECT_THAT(HttpGet(port, "/metrics"), HasSubstr("kdbgd_info{version=\"1.2.3\"} 1"));
  for (const std::string path : {"/", "/etc/passwd", "/../../etc/passwd", "/CMakeLists.txt"}) {
    EXPECT_THAT(HttpGet(port, path), HasSubstr(" 404 ")) << path;
  }
}

TEST_F(MetricsListenerTest, APortThatIsTakenIsAnErrorThatNamesIt) {
  const auto first = MetricsListener::Start("127.0.0.1:0", metrics_);
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string address = "127.0.0.1:" + std::to_string((*first)->port());
  const auto second = MetricsListener::Start(address, metrics_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr("metrics.listen: cannot listen on " + address));
}

}  // namespace
}  // namespace kdbg::observe
