#include "server/runner/policy.h"

#include <gtest/gtest.h>

#include <functional>

namespace kdbg::runner {
namespace {

using host::Access;
using host::Sandbox;

Policy RootPolicy() {
  return {.allowed_roots = {"/var/lib/kdbgd", "/srv/kdbg/workspaces"},
          .first_uid = 700000,
          .uid_count = 100,
          .own_uid = 0,
          .client_uid = 0};
}

Sandbox GoodSandbox() {
  Sandbox sandbox;
  sandbox.run_as = host::Identity{.uid = 700001, .gid = 700001};
  sandbox.binds = {{"/var/lib/kdbgd/workspaces/1/source", "/src", Access::kReadOnly},
                   {"/var/lib/kdbgd/workspaces/1/build", "/build", Access::kWritable}};
  sandbox.argv = {"make"};
  sandbox.environment = {"A=b"};
  return sandbox;
}

struct Case {
  const char* claim;
  std::function<void(Sandbox&)> change;
  absl::StatusCode code;
};

TEST(PolicyTest, AUsualBuildIsAllowed) {
  EXPECT_TRUE(CheckSandbox(GoodSandbox(), RootPolicy()).ok());
}

TEST(PolicyTest, WhatIsNotAllowedIsRefused) {
  constexpr auto kDenied = absl::StatusCode::kPermissionDenied;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  const Case cases[] = {
      {"root", [](Sandbox& s) { s.run_as->uid = 0; }, kDenied},
      {"root's group", [](Sandbox& s) { s.run_as->gid = 0; }, kDenied},
      {"below the range", [](Sandbox& s) { s.run_as->uid = 699999; }, kDenied},
      {"above the range", [](Sandbox& s) { s.run_as->uid = 700100; }, kDenied},
      {"nobody's uid", [](Sandbox& s) { s.run_as.reset(); }, kDenied},
      {"a path elsewhere", [](Sandbox& s) { s.binds[0].host = "/root"; }, kDenied},
      {"a path beside", [](Sandbox& s) { s.binds[0].host = "/var/lib/kdbgd-evil"; }, kDenied},
      {"a path back up", [](Sandbox& s) { s.binds[0].host = "/var/lib/kdbgd/../x"; }, kDenied},
      {"a relative path", [](Sandbox& s) { s.binds[0].host = "var/lib/kdbgd/x"; }, kDenied},
      {"over /", [](Sandbox& s) { s.binds[0].inside = "/"; }, kInvalid},
      {"over /usr", [](Sandbox& s) { s.binds[0].inside = "/usr"; }, kInvalid},
      {"into /etc", [](Sandbox& s) { s.binds[0].inside = "/etc/ld.so.preload"; }, kInvalid},
      {"into /proc", [](Sandbox& s) { s.binds[0].inside = "/proc/sys"; }, kInvalid},
      {"back into /etc", [](Sandbox& s) { s.binds[0].inside = "/src/../etc"; }, kInvalid},
      {"a relative place", [](Sandbox& s) { s.binds[0].inside = "src"; }, kInvalid},
      {"no command", [](Sandbox& s) { s.argv.clear(); }, kInvalid},
      {"NUL in the command", [](Sandbox& s) { s.argv.emplace_back("a\0b", 3); }, kInvalid},
      {"NUL in a variable", [](Sandbox& s) { s.environment.emplace_back("A=\0b", 4); }, kInvalid},
      {"a variable without =", [](Sandbox& s) { s.environment = {"A"}; }, kInvalid},
      {"a variable without a name", [](Sandbox& s) { s.environment = {"=b"}; }, kInvalid},
      {"negative memory", [](Sandbox& s) { s.limits.memory_bytes = -1; }, kInvalid},
      {"no time", [](Sandbox& s) { s.limits.wall_time = absl::ZeroDuration(); }, kInvalid},
      {"above all others", [](Sandbox& s) { s.limits.nice = -5; }, kInvalid},
  };
  for (const Case& each : cases) {
    Sandbox sandbox = GoodSandbox();
    each.change(sandbox);
    EXPECT_EQ(CheckSandbox(sandbox, RootPolicy()).code(), each.code) << each.claim;
  }
}

TEST(PolicyTest, TheDaemonsOwnUidIsRefusedEvenInsideTheRange) {
  Policy policy = RootPolicy();
  policy.client_uid = 700001;
  EXPECT_TRUE(absl::IsPermissionDenied(CheckSandbox(GoodSandbox(), policy)));
}

TEST(PolicyTest, ARootRunnerWithoutARangeRunsNothing) {
  Policy policy = RootPolicy();
  policy.uid_count = 0;
  EXPECT_TRUE(absl::IsPermissionDenied(CheckSandbox(GoodSandbox(), policy)));
}

TEST(PolicyTest, WithoutRootOnlyItsOwnUid) {
  Policy policy = RootPolicy();
  policy.own_uid = policy.client_uid = 1000;
  Sandbox sandbox = GoodSandbox();
  EXPECT_TRUE(absl::IsPermissionDenied(CheckSandbox(sandbox, policy)));
  sandbox.run_as.reset();
  EXPECT_TRUE(CheckSandbox(sandbox, policy).ok());
}

TEST(PolicyTest, APathIsTakenFromTheNearestRoot) {
  Policy policy = RootPolicy();
  policy.allowed_roots.emplace_back("/var/lib/kdbgd/workspaces");
  const auto path = BelowRoot("/var/lib/kdbgd/workspaces/1/build", policy);
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_EQ(path->root, "/var/lib/kdbgd/workspaces");
  EXPECT_EQ(path->relative, "1/build");
  EXPECT_EQ(BelowRoot("/var/lib/kdbgd", policy)->relative, ".");
}

}  // namespace
}  // namespace kdbg::runner
