#include "server/source/remote_url.h"

#include <gtest/gtest.h>

#include <vector>

#include "proto/contract/error.h"

namespace kdbg::source {
namespace {

const std::vector<std::string> kAllowed = {"https://git.example.org/pub/", "ssh://git@host",
                                           "file:///srv/git", "https://other.example:8443/"};

absl::Status Check(const std::string& url) {
  return CheckRemoteUrl("git_url.url", url, kAllowed).status();
}

TEST(RemoteUrlTest, WhatIsBelowAnAllowedOneIsAllowed) {
  for (const char* url :
       {"https://git.example.org/pub/linux.git", "https://git.example.org/pub",
        "https://GIT.example.org:443/pub/a/b", "ssh://git@host/linux", "file:///srv/git/linux.git",
        "https://other.example:8443/x", "https://user@git.example.org/pub/x"}) {
    EXPECT_TRUE(Check(url).ok()) << url << " " << Check(url);
  }
  const auto url = CheckRemoteUrl("f", "https://git.example.org/pub/./linux.git#x", kAllowed);
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->text, "https://git.example.org/pub/linux.git");
  EXPECT_EQ(url->scheme, "https");
  EXPECT_EQ(url->path, "/pub/linux.git");
}

TEST(RemoteUrlTest, AllElseIsNot) {
  for (const char* url :
       {"https://git.example.org/", "https://git.example.org/public/x",
        "https://git.example.org/pub/../secret", "https://git.example.org:444/pub/x",
        "https://git.example.org.evil.org/pub/x", "https://evil.org/https://git.example.org/pub/",
        "ssh://root@host/linux", "ssh://host/linux", "file:///srv/github/x", "file:///etc/passwd",
        "https://git.example.org@evil.org/pub/x", "https://other.example/x"}) {
    EXPECT_TRUE(HasReason(Check(url), Reason::kUrlNotAllowed)) << url << " " << Check(url);
  }
}

TEST(RemoteUrlTest, WhatIsNoUrlOrCanBeReadInTwoWaysIsRefused) {
  for (const char* url :
       {"", "linux.git", "git@host:linux", "http://git.example.org/pub/x",
        "git://git.example.org/pub/x", "ftp://git.example.org/pub/x", "ext::sh -c id",
        "https://u:p@git.example.org/pub/x", "https://git.example.org/pub/%2e%2e/secret",
        "https://git.example.org/pub/a%2Fb", "https://git.example.org/pub/a b",
        "https://git.example.org/pub/a\nb", "ssh://-oProxyCommand=id/x", "file://host/srv/git/x"}) {
    EXPECT_TRUE(HasReason(Check(url), Reason::kFieldInvalid)) << url << " " << Check(url);
  }
}

TEST(RemoteUrlTest, WhereNothingIsAllowedTheMessageSaysWhatToDo) {
  const absl::Status refused = CheckRemoteUrl("f", "https://a.b/c", {}).status();
  EXPECT_NE(refused.message().find("build.allowed_urls"), absl::string_view::npos);
}

}  // namespace
}  // namespace kdbg::source
