#include "tests/system/hostile/hostile_fixture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>

#include "proto/support/file.h"
#include "proto/support/subprocess.h"

namespace kdbg::host {
namespace {

constexpr std::int64_t kMebibyte = 1 << 20;
constexpr uid_t kFirstUid = 700000;
constexpr std::int64_t kUidCount = 10;
constexpr char kSecret[] = "the-daemons-secret";

// What bubblewrap needs from the host, without asking the code under test.
bool HostHasSandboxes(std::string& why_not) {
  if (::access("/usr/bin/bwrap", X_OK) != 0) {
    why_not = "bubblewrap is not installed";
    return false;
  }
  Subprocess::Options options;
  options.argv = {"unshare", "--user", "--map-root-user", "--mount", "true"};
  const auto result = RunCommand(options);
  if (result.ok() && result->status.ok()) return true;
  why_not = "this host allows no user namespaces";
  return false;
}

}  // namespace

Pipe MakePipe() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  return {.read_end = UniqueFd(ends[0]), .write_end = UniqueFd(ends[1])};
}

void HostileBuildTest::CreateTree() {
  std::string name = "/tmp/kdbg-hostile-XXXXXX";
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  state_ = name;
  source_ = state_ / "source";
  build_ = state_ / "build";
  ccache_ = state_ / "ccache";
  for (const auto& path : {source_, build_, ccache_}) {
    ASSERT_TRUE(MakeDirectories(path, 0755).ok());
  }
  // Readable in itself: only the closed directory above keeps it from others.
  std::ofstream(state_ / "secret") << kSecret << "\n";
  ASSERT_EQ(::chmod((state_ / "secret").c_str(), 0644), 0);
}

void HostileBuildTest::SetUp() {
  std::string why_not;
  if (!HostHasSandboxes(why_not)) GTEST_SKIP() << why_not;
  ASSERT_NO_FATAL_FAILURE(CreateTree());
  RunnerProcess::Options options;
  options.executable = KDBG_RUNNER;
  options.directory = state_ / "runner";
  options.allowed_roots = {state_};
  if (::geteuid() == 0) {
    runs_as_ = Identity{.uid = kFirstUid + 3, .gid = kFirstUid + 3};
    options.first_uid = kFirstUid;
    options.uid_count = kUidCount;
  }
  auto process = RunnerProcess::Spawn(options);
  ASSERT_TRUE(process.ok()) << process.status();
  process_ = *std::move(process);
  runner_ = std::make_unique<RunnerClient>(process_->socket());
}

void HostileBuildTest::TearDown() {
  runner_.reset();
  process_.reset();
  std::error_code error;
  if (!state_.empty()) std::filesystem::remove_all(state_, error);
}

Sandbox HostileBuildTest::Build(std::string_view makefile,
                                std::vector<std::string> arguments) const {
  std::filesystem::copy_file(std::filesystem::path(KDBG_MAKEFILES) / makefile, source_ / "Makefile",
                             std::filesystem::copy_options::overwrite_existing);
  Sandbox sandbox;
  sandbox.label = fmt::format("hostile {}", makefile);
  sandbox.run_as = runs_as_;
  sandbox.binds = {{source_, "/src", Access::kReadOnly},
                   {build_, "/build", Access::kWritable},
                   {ccache_, "/ccache", Access::kWritable}};
  sandbox.argv = {"make", "--no-print-directory", "-f", "/src/Makefile"};
  sandbox.argv.insert(sandbox.argv.end(), arguments.begin(), arguments.end());
  sandbox.working_directory = "/build";
  sandbox.limits.processes = 64;
  sandbox.limits.memory_bytes = 256 * kMebibyte;
  sandbox.limits.file_bytes = 1024 * kMebibyte;
  sandbox.limits.wall_time = absl::Seconds(60);
  return sandbox;
}

std::unique_ptr<SandboxRun> HostileBuildTest::Start(const Sandbox& sandbox, int output_fd) {
  auto run = runner_->Start(sandbox, -1, output_fd, output_fd);
  EXPECT_TRUE(run.ok()) << run.status();
  return run.ok() ? *std::move(run) : nullptr;
}

HostileBuildTest::Outcome HostileBuildTest::Run(const Sandbox& sandbox) {
  const UniqueFd output(::memfd_create("output", MFD_CLOEXEC));
  ::fcntl(output.get(), F_SETFL, O_APPEND);
  Outcome outcome;
  const std::unique_ptr<SandboxRun> run = Start(sandbox, output.get());
  if (run == nullptr) return outcome;
  outcome.result = run->Wait();
  outcome.output = ReadFile(fmt::format("/proc/self/fd/{}", output.get())).value_or("");
  return outcome;
}

std::string HostileBuildTest::NewMark() const {
  std::random_device random;
  return std::to_string(100000000 + random() % 100000000);
}

std::vector<int> HostileBuildTest::ProcessesWith(std::string_view mark) {
  std::vector<int> pids;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string command = ReadFile(entry.path() / "cmdline").value_or("");
    if (command.find(mark) != std::string::npos) pids.push_back(std::stoi(name));
  }
  return pids;
}

bool HostileBuildTest::WaitForLine(int fd, std::string_view line) {
  std::string text;
  for (char c = 0; ::read(fd, &c, 1) == 1;) {
    text.push_back(c);
    if (text.ends_with(fmt::format("{}\n", line))) return true;
  }
  ADD_FAILURE() << "the build ended before it said \"" << line << "\": " << text;
  return false;
}

bool HostileBuildTest::AllEndWithin(const std::vector<int>& pids, absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  for (int pid : pids) {
    const UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!fd) continue;  // gone already
    pollfd waiting{.fd = fd.get(), .events = POLLIN, .revents = 0};
    const auto left = std::max(absl::ZeroDuration(), deadline - absl::Now());
    if (::poll(&waiting, 1, static_cast<int>(absl::ToInt64Milliseconds(left))) <= 0) return false;
  }
  return true;
}

LimitReport HostileBuildTest::LimitNamed(std::string_view name) {
  for (const LimitReport& limit : runner_->Probe().limits) {
    if (limit.name == name) return limit;
  }
  ADD_FAILURE() << "the probe says nothing about " << name;
  return {};
}

}  // namespace kdbg::host
