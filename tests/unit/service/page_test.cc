#include "server/service/page.h"

#include <gtest/gtest.h>

#include <vector>

#include "proto/contract/error.h"

namespace kdbg::service {
namespace {

struct Record {
  std::int64_t sequence;
};

TEST(PageTest, ZeroIsTheDefaultTooMuchIsCutNegativeIsRefused) {
  EXPECT_EQ(ParsePage(0, "", "q")->size, 50);
  EXPECT_EQ(ParsePage(7, "", "q")->size, 7);
  EXPECT_EQ(ParsePage(1'000'000, "", "q")->size, 500);
  EXPECT_EQ(GetErrorDetail(ParsePage(-1, "", "q").status())->metadata.at("field"), "page_size");
}

TEST(PageTest, ATokenLeadsBehindTheLastRecordOfThePage) {
  const Page page = *ParsePage(2, "", "q");
  std::vector<Record> records = {{9}, {8}, {7}};
  const std::string token = CutPage(page, "q", &records);
  EXPECT_EQ(records.size(), 2u);
  EXPECT_EQ(ParsePage(2, token, "q")->before_sequence, 8);
}

TEST(PageTest, TheLastPageHasNoToken) {
  std::vector<Record> records = {{9}, {8}};
  EXPECT_EQ(CutPage(*ParsePage(2, "", "q"), "q", &records), "");
  EXPECT_EQ(records.size(), 2u);
}

TEST(PageTest, ATokenOfAnotherListOrOfNobodyIsRefused) {
  const std::string token = NextPageToken(8, "q");
  for (const std::string& bad : {token + "0", token.substr(1), std::string("8"), std::string("-"),
                                 std::string("zz"), std::string("-8-") + token}) {
    SCOPED_TRACE(bad);
    EXPECT_EQ(ParsePage(2, bad, "q").status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(ParsePage(2, token, "another").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace kdbg::service
