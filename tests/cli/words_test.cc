// Help, errors and the choice of a server: what needs no work by the server.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "tests/cli/cli_fixture.h"

namespace kdbg::test {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

using WordsTest = CliTest;

TEST_F(WordsTest, HelpOpensWithExamples) {
  const CliResult help = Run({"kernel", "build", "--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, StartsWith("build a kernel from a source\n\nExamples:\n  kdbgctl kernel"));
}

TEST_F(WordsTest, AnUnknownCommandSuggestsTheNearest) {
  const CliResult root = Run({"sesion", "list"});
  EXPECT_EQ(root.exit_code, 2);
  EXPECT_THAT(root.err, HasSubstr("unknown command 'sesion'\nhint: did you mean kdbgctl session?"));
  EXPECT_THAT(Run({"-o", "json", "build", "lst"}).err, HasSubstr("kdbgctl build list?"));
}

TEST_F(WordsTest, NobodyListeningSaysWhereItLookedAndHowToStartOne) {
  server_.Stop();
  const CliResult result = Run({"info"});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.err, HasSubstr("kdbgd.sock"));
  EXPECT_THAT(result.err, HasSubstr("start one with `kdbgd`"));
}

TEST_F(WordsTest, TheDefaultSocketIsFoundWithoutAnySetting) {
  std::erase_if(environment_, [](const std::string& v) { return v.starts_with("KDBG_SERVER="); });
  environment_.push_back("XDG_RUNTIME_DIR=" + (home_ / "run").string());
  std::filesystem::create_directories(home_ / "run/kdbg");
  FakeServer own((home_ / "run/kdbg/kdbgd.sock").string());
  own.state().info.set_host_name("mine");
  own.Start();
  const CliResult result = Run({"info"});
  // A daemon of the system's would come first for root; none runs where tests do, or it is the one
  // to find.
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST_F(WordsTest, TheConfigurationFileNamesTheServerAndItsMistakesHaveAPlace) {
  std::erase_if(environment_, [](const std::string& v) { return v.starts_with("KDBG_SERVER="); });
  WriteFile(".config/kdbg/config.toml", "server = \"" + server_address() + "\"\n");
  EXPECT_THAT(Run({"info"}).out, HasSubstr("big"));
  WriteFile(".config/kdbg/config.toml", "\nsevrer = \"unix:/x\"\n");
  const CliResult result = Run({"info"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("config.toml:2:10: unknown key 'sevrer'"));
}

TEST_F(WordsTest, ExitCodesFollowTheServersCodes) {
  const std::pair<absl::Status, int> table[] = {
      {InvalidField("cpus", "0", "cpus must be at least 1"), 2},
      {ResourceNotFound("builds/x"), 3},
      {MakeError(absl::StatusCode::kPermissionDenied, Reason::kPermissionDenied, "not yours"), 4},
      {MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaExceeded, "enough"), 5},
      {MakeError(absl::StatusCode::kUnavailable, Reason::kDraining, "draining"), 6},
      {MakeError(absl::StatusCode::kFailedPrecondition, Reason::kNoDebugInformation, "none"), 1}};
  for (const auto& [status, exit_code] : table) {
    SCOPED_TRACE(status.ToString());
    {
      absl::MutexLock lock(&state().mutex);
      state().create_session_status = ToGrpcStatus(status);
    }
    const CliResult result = Run({"session", "create"});
    EXPECT_EQ(result.exit_code, exit_code);
    EXPECT_THAT(result.err, StartsWith("kdbgctl: " + std::string(status.message()) + "\n"));
  }
}

TEST_F(WordsTest, AnErrorIsADocumentWhereJsonIsAskedFor) {
  state().create_session_status =
      ToGrpcStatus(MakeError(absl::StatusCode::kResourceExhausted, Reason::kQuotaExceeded,
                             "enough \"here\"", {{"holders", "ann"}}, absl::Milliseconds(1500)));
  const CliResult result = Run({"-o", "json", "session", "create"});
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_EQ(result.out, "");
  google::protobuf::Struct document;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(result.err, &document).ok())
      << result.err;
  const auto& fields = document.fields();
  EXPECT_EQ(fields.at("code").number_value(), 8);
  EXPECT_EQ(fields.at("message").string_value(), "enough \"here\"");
  const auto& info = fields.at("details").list_value().values(0).struct_value().fields();
  EXPECT_EQ(info.at("@type").string_value(), "type.googleapis.com/google.rpc.ErrorInfo");
  EXPECT_EQ(info.at("reason").string_value(), "QUOTA_EXCEEDED");
  EXPECT_EQ(info.at("metadata").struct_value().fields().at("holders").string_value(), "ann");
  const auto& retry = fields.at("details").list_value().values(1).struct_value().fields();
  EXPECT_EQ(retry.at("retryDelay").string_value(), "1.500s");
}

TEST_F(WordsTest, AMissingDefaultBuildNamesTheCommandThatMakesOne) {
  state().create_session_status =
      ToGrpcStatus(MakeError(absl::StatusCode::kNotFound, Reason::kNoDefaultBuild,
                             "no initramfs yet", {{"kind", "initramfs"}}));
  EXPECT_THAT(Run({"session", "create"}).err, HasSubstr("hint: kdbgctl initramfs build"));
}

TEST_F(WordsTest, InfoSaysWhatWorksAndWhyNot) {
  auto* kvm = state().info.add_accelerators();
  kvm->set_name("kvm");
  kvm->set_reason("the probe did not reach 64-bit code");
  auto* limit = state().info.add_limits();
  limit->set_name("build memory");
  limit->set_holds(true);
  limit->set_mechanism("cgroup v1");
  const CliResult result = Run({"info"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("not usable: the probe did not reach 64-bit code"));
  EXPECT_THAT(result.out, HasSubstr("holds by cgroup v1"));
  EXPECT_THAT(Run({"info", "-o", "json"}).out, HasSubstr("\"hostName\": \"big\""));
}

TEST_F(WordsTest, InfoNamesEachPartThatIsBrokenAndWhatToDo) {
  const auto add = [this](const char* name, const char* detail) {
    v1::PartInfo* part = state().info.add_parts();
    part->set_name(name);
    part->set_works(std::string_view(detail).empty());
    part->set_detail(detail);
  };
  add("guests", "");
  add("disk", "");
  const std::string well = Run({"info"}).out;
  EXPECT_THAT(well, ContainsRegex("Working: +guests, disk\n"));
  EXPECT_THAT(well, Not(HasSubstr("BROKEN")));
  add("compiler cache", "ccache does not run: apt-get install --reinstall ccache");
  const std::string ill = Run({"info"}).out;
  EXPECT_THAT(ill, ContainsRegex("BROKEN compiler cache: +ccache does not run: apt-get install"));
  EXPECT_THAT(ill, ContainsRegex("Working: +guests, disk\n"));
}

TEST_F(WordsTest, SshGoesThroughTheUsersOwnSsh) {
  WriteProgram("ssh",
               "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift; echo \"$1\" > "
               "$HOME/host; shift; exec sh -c \"$*\"\n");
  const CliResult result =
      Run({"--server", "ssh://box/" + (home_ / "kdbgd.sock").string().substr(1), "info"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("ssh://box"));
  EXPECT_EQ(Run({"--server", "ssh://-oProxyCommand=x", "info"}).exit_code, 2);
}

TEST_F(WordsTest, WhatSshComplainsOfIsShown) {
  WriteProgram("ssh", "#!/bin/sh\necho 'box: Permission denied (publickey).' >&2\nexit 255\n");
  const CliResult result = Run({"--server", "ssh://box", "info"});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.err, HasSubstr("ssh://box: box: Permission denied (publickey)."));
}

}  // namespace
}  // namespace kdbg::test
