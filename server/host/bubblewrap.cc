#include "server/host/bubblewrap.h"

#include <fmt/format.h>

#include <system_error>

namespace kdbg::host {
namespace {

constexpr std::string_view kInsideId = "1000";
constexpr std::string_view kHostName = "kdbg";

// Files that programs below /usr read: the loader's cache, and what OpenSSL reads when a kernel
// makes its signing key.
constexpr std::string_view kEtcFiles[] = {"etc/ld.so.cache", "etc/ssl/openssl.cnf"};

// Debian reaches these through /etc/alternatives.
constexpr std::string_view kAlternatives[] = {"awk",  "c++",   "c89",     "c99",  "cc",
                                              "cpp",  "ld",    "lex",     "nawk", "nm",
                                              "yacc", "which", "fakeroot"};

using Arguments = std::vector<std::string>;

void Add(Arguments& arguments, std::initializer_list<std::string_view> words) {
  arguments.insert(arguments.end(), words.begin(), words.end());
}

void AddNamespaces(Arguments& arguments) {
  // --disable-userns: a build that makes user namespaces of its own gets at far more of the kernel.
  Add(arguments,
      {"--unshare-all", "--unshare-user", "--disable-userns", "--uid", kInsideId, "--gid",
       kInsideId, "--hostname", kHostName, "--die-with-parent", "--new-session", "--clearenv"});
}

void AddSystem(Arguments& arguments, const BubblewrapPlan& plan) {
  Add(arguments, {"--ro-bind", "/usr", "/usr"});
  for (std::string_view name : {"bin", "sbin", "lib", "lib64"}) {
    Add(arguments, {"--symlink", fmt::format("usr/{}", name), fmt::format("/{}", name)});
  }
  for (const std::string& file : plan.etc.files) Add(arguments, {"--ro-bind", file, file});
  for (const auto& [inside, target] : plan.etc.links) {
    Add(arguments, {"--symlink", target, inside});
  }
  for (const auto& [fd, inside] : plan.files) {
    Add(arguments, {"--perms", "0444", "--file", std::to_string(fd), inside});
  }
}

void AddTemporary(Arguments& arguments, const SandboxLimits& limits) {
  Add(arguments, {"--proc", "/proc", "--dev", "/dev"});
  for (std::string_view path : {"/tmp", "/dev/shm"}) {
    if (limits.memory_bytes > 0) {
      Add(arguments, {"--size", std::to_string(limits.memory_bytes)});
    }
    Add(arguments, {"--perms", "1777", "--tmpfs", path});
  }
}

void AddEnvironment(Arguments& arguments, const Sandbox& sandbox) {
  Add(arguments, {"--setenv", "PATH", "/usr/bin:/usr/sbin", "--setenv", "HOME", "/tmp"});
  for (const std::string& entry : sandbox.environment) {
    const std::size_t equals = entry.find('=');
    Add(arguments, {"--setenv", std::string_view(entry).substr(0, equals),
                    std::string_view(entry).substr(equals + 1)});
  }
}

}  // namespace

EtcView FindEtcView(const std::filesystem::path& root) {
  EtcView view;
  std::error_code error;
  for (std::string_view file : kEtcFiles) {
    if (std::filesystem::is_regular_file(root / file, error)) {
      view.files.push_back(fmt::format("/{}", file));
    }
  }
  for (std::string_view name : kAlternatives) {
    const std::string inside = fmt::format("etc/alternatives/{}", name);
    const std::filesystem::path target = std::filesystem::read_symlink(root / inside, error);
    if (!error) view.links.emplace_back("/" + inside, target.string());
  }
  return view;
}

std::vector<GeneratedFile> GeneratedEtcFiles() {
  return {
      {"/etc/passwd", "build:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"},
      {"/etc/group", "build:x:1000:\nnogroup:x:65534:\n"},
      {"/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"},
      {"/etc/hosts", "127.0.0.1 localhost\n"},
  };
}

std::vector<std::string> BubblewrapArguments(const BubblewrapPlan& plan) {
  Arguments arguments{"bwrap"};
  AddNamespaces(arguments);
  AddSystem(arguments, plan);
  AddTemporary(arguments, plan.sandbox.limits);
  for (std::size_t i = 0; i < plan.sandbox.binds.size(); ++i) {
    const Bind& bind = plan.sandbox.binds[i];
    Add(arguments,
        {bind.access == Access::kWritable ? "--bind" : "--ro-bind", plan.sources[i], bind.inside});
  }
  // The file systems that bubblewrap made are memory: closed, so that only what is bounded can
  // grow.
  Add(arguments, {"--remount-ro", "/dev", "--remount-ro", "/"});
  AddEnvironment(arguments, plan.sandbox);
  if (!plan.sandbox.working_directory.empty()) {
    Add(arguments, {"--chdir", plan.sandbox.working_directory});
  }
  if (plan.status_fd >= 0) {
    Add(arguments, {"--json-status-fd", std::to_string(plan.status_fd)});
  }
  Add(arguments, {"--"});
  arguments.insert(arguments.end(), plan.sandbox.argv.begin(), plan.sandbox.argv.end());
  return arguments;
}

}  // namespace kdbg::host
