#include "server/runner/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "proto/support/status_macros.h"

namespace kdbg::runner {
namespace {

using host::Bind;
using host::Sandbox;

constexpr int kMostNice = 19;

// Bubblewrap fills these itself.
constexpr std::string_view kReserved[] = {"/usr",  "/etc", "/proc",  "/dev", "/bin",
                                          "/sbin", "/lib", "/lib64", "/sys", "/run"};

bool IsPlain(const std::filesystem::path& path) {
  const std::string text = path.string();
  return path.is_absolute() && text.find('\0') == std::string::npos &&
         path.lexically_normal() == path && (text == "/" || !text.ends_with('/'));
}

bool IsBelow(const std::filesystem::path& path, const std::filesystem::path& root) {
  const auto [end, rest] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return end == root.end();
}

absl::Status CheckText(std::string_view what, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (word.find('\0') != std::string::npos) {
      return absl::InvalidArgumentError(fmt::format("a NUL character in the {}", what));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckIdentity(const Sandbox& sandbox, const Policy& policy) {
  if (policy.own_uid != 0) {
    if (!sandbox.run_as || sandbox.run_as->uid == policy.own_uid) return absl::OkStatus();
    return absl::PermissionDeniedError(fmt::format(
        "the runner is not root and cannot run a command as uid {}", sandbox.run_as->uid));
  }
  if (!sandbox.run_as) {
    return absl::PermissionDeniedError("a root runner runs no command without a uid of its own");
  }
  for (const std::int64_t id :
       {std::int64_t{sandbox.run_as->uid}, std::int64_t{sandbox.run_as->gid}}) {
    if (id == 0 || id == policy.client_uid || id < policy.first_uid ||
        id >= policy.first_uid + policy.uid_count) {
      return absl::PermissionDeniedError(
          fmt::format("the runner runs commands as uids and gids {} to {} only, not {}",
                      policy.first_uid, policy.first_uid + policy.uid_count - 1, id));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBind(const Bind& bind, const Policy& policy) {
  if (!IsPlain(bind.inside) || bind.inside == "/") {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is no place for a directory of the sandbox", bind.inside));
  }
  for (std::string_view reserved : kReserved) {
    if (IsBelow(bind.inside, reserved)) {
      return absl::InvalidArgumentError(
          fmt::format("{} is the sandbox's own; choose another place", bind.inside));
    }
  }
  return BelowRoot(bind.host, policy).status();
}

absl::Status CheckEnvironment(const std::vector<std::string>& environment) {
  for (const std::string& entry : environment) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(fmt::format("\"{}\" is not NAME=VALUE", entry));
    }
  }
  return CheckText("environment", environment);
}

absl::Status CheckLimits(const host::SandboxLimits& limits) {
  if (limits.memory_bytes < 0 || limits.processes < 0 || limits.file_bytes < 0 ||
      limits.wall_time <= absl::ZeroDuration() || limits.nice < 0 || limits.nice > kMostNice) {
    return absl::InvalidArgumentError("a limit of the sandbox is negative or out of range");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RootedPath> BelowRoot(const std::filesystem::path& path, const Policy& policy) {
  std::optional<std::filesystem::path> best;
  if (IsPlain(path)) {
    for (const std::filesystem::path& root : policy.allowed_roots) {
      const bool longer = !best || root.string().size() > best->string().size();
      if (IsPlain(root) && IsBelow(path, root) && longer) best = root;
    }
  }
  if (!best) {
    return absl::PermissionDeniedError(
        fmt::format("{} does not lie below a directory that the runner may show", path.string()));
  }
  return RootedPath{.root = *best, .relative = path.lexically_relative(*best).string()};
}

absl::Status CheckSandbox(const Sandbox& sandbox, const Policy& policy) {
  if (sandbox.argv.empty() || sandbox.argv.front().empty()) {
    return absl::InvalidArgumentError("a sandbox without a command");
  }
  KDBG_RETURN_IF_ERROR(CheckText("command", sandbox.argv));
  KDBG_RETURN_IF_ERROR(CheckEnvironment(sandbox.environment));
  KDBG_RETURN_IF_ERROR(CheckText("working directory", {sandbox.working_directory}));
  KDBG_RETURN_IF_ERROR(CheckIdentity(sandbox, policy));
  for (const Bind& bind : sandbox.binds) KDBG_RETURN_IF_ERROR(CheckBind(bind, policy));
  return CheckLimits(sandbox.limits);
}

}  // namespace kdbg::runner
