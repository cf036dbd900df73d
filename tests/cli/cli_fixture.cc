#include "tests/cli/cli_fixture.h"

#include <google/protobuf/util/time_util.h>
#include <stdlib.h>

#include <cstdlib>
#include <fstream>

#include "proto/support/sha256.h"

namespace kdbg::test {
namespace {

std::filesystem::path NewHome() {
  std::string pattern = "/tmp/kdbg-cli-XXXXXX";
  return ::mkdtemp(pattern.data());
}

}  // namespace

CliTest::CliTest() : home_(NewHome()), server_((home_ / "kdbgd.sock").string()) {
  std::filesystem::create_directories(home_ / "bin");
  std::filesystem::create_symlink(KDBGCTL, home_ / "bin/kdbgctl");
  environment_ = {"HOME=" + home_.string(),
                  "XDG_CACHE_HOME=" + (home_ / "cache").string(),
                  "PATH=" + (home_ / "bin").string() + ":" + std::getenv("PATH"),
                  "KDBG_SERVER=" + server_address(),
                  "TZ=UTC",
                  "LC_ALL=C.UTF-8",
                  "TERM=dumb"};
  state().info.set_version("0.1.0");
  state().info.set_host_name("big");
  state().info.set_user("alice");
  state().info.set_role("user");
  server_.Start();
}

CliTest::~CliTest() {
  server_.Stop();
  std::error_code error;
  std::filesystem::remove_all(home_, error);
}

std::string CliTest::server_address() const { return "unix:" + (home_ / "kdbgd.sock").string(); }

CliResult CliTest::Run(const std::vector<std::string>& arguments, const std::string& input) {
  Subprocess::Options options;
  options.argv = {KDBGCTL};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.environment = environment_;
  options.working_directory = home_.string();
  auto result = RunCommand(options, input, std::chrono::seconds(60));
  if (!result.ok()) return {.exit_code = -1, .out = "", .err = result.status().ToString()};
  return {
      .exit_code = result->status.signal != 0 ? 1000 + result->status.signal : result->status.code,
      .out = result->output,
      .err = result->error};
}

Subprocess CliTest::Start(const std::vector<std::string>& arguments,
                          const std::vector<std::pair<int, int>>& descriptors) {
  Subprocess::Options options;
  options.argv = {KDBGCTL};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.environment = environment_;
  options.descriptors = descriptors;
  return *Subprocess::Start(options);
}

std::string CliTest::WriteFile(const std::string& name, const std::string& text) {
  const std::filesystem::path path = home_ / name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
  return path.string();
}

void CliTest::WriteProgram(const std::string& name, const std::string& text) {
  const std::string path = WriteFile("bin/" + name, text);
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}

v1::Build MakeBuild(const std::string& id, v1::Build::State build_state) {
  v1::Build build;
  build.set_name("builds/" + id);
  build.set_display_name("mine");
  build.set_owner("alice");
  build.set_source("sources/s-1");
  build.mutable_kernel();
  build.set_state(build_state);
  *build.mutable_create_time() = google::protobuf::util::TimeUtil::GetCurrentTime();
  build.mutable_create_time()->set_seconds(build.create_time().seconds() - 300);
  return build;
}

void CliTest::AddSession(const std::map<std::string, std::string>& files) {
  absl::MutexLock lock(&state().mutex);
  v1::Artifact& kernel = state().artifacts["artifacts/a-1"];
  kernel.set_name("artifacts/a-1");
  kernel.set_kind(v1::Artifact::KERNEL);
  kernel.set_owner("alice");
  kernel.set_source("sources/s-1");
  kernel.set_build_id("0123456789abcdef");
  kernel.clear_files();
  for (const auto& [path, content] : files) {
    v1::ArtifactFile* file = kernel.add_files();
    file->set_path(path);
    file->set_sha256(Sha256Hex(content));
    file->set_size_bytes(static_cast<std::int64_t>(content.size()));
    state().artifact_files[path] = content;
  }
  v1::Session& session = state().sessions["sessions/s-1"];
  session.set_name("sessions/s-1");
  session.set_state(v1::Session::READY);
  session.set_run_state(v1::Session::HALTED);
  session.set_owner("alice");
  session.set_kernel("builds/b-1");
  session.set_kernel_artifact("artifacts/a-1");
  session.set_stopped_at("start_kernel");
  session.mutable_gdb()->set_host("127.0.0.1");
  session.mutable_gdb()->set_port(9);
}

}  // namespace kdbg::test
