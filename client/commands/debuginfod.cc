#include "client/commands/debuginfod.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/random.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>
#include <vector>

#include "client/commands/source.h"
#include "client/gdb/debuginfod_http.h"
#include "client/gdb/symbol_cache.h"
#include "client/terminal/input_pump.h"

namespace kdbg::client {
namespace {

// What the server has of kernels and their modules, by their build ids. What it does not let the
// caller see is not there. For the HTTP thread.
class Kernels {
 public:
  Kernels(Context& context, std::filesystem::path cache, StopSignal& interrupted)
      : context_(context), cache_(std::move(cache)), interrupted_(interrupted) {}

  absl::StatusOr<std::filesystem::path> Symbols(const std::string& build_id) {
    KDBG_ASSIGN_OR_RETURN(const std::vector<v1::Artifact> kernels, Find(build_id));
    const v1::Artifact& kernel = kernels.front();
    const auto file =
        std::find_if(kernel.files().begin(), kernel.files().end(),
                     [&](const v1::ArtifactFile& each) { return each.build_id() == build_id; });
    const bool is_module = file != kernel.files().end() && kernel.build_id() != build_id;
    const auto found = is_module ? Module(kernel, *file) : Vmlinux(kernel);
    if (!found.ok()) return Failed(found.status());
    return found;
  }

  absl::StatusOr<std::string> Source(const std::string& build_id, const std::string& path) {
    KDBG_ASSIGN_OR_RETURN(const std::vector<v1::Artifact> kernels, Find(build_id));
    KDBG_ASSIGN_OR_RETURN(Server * server, context_.server());
    absl::StatusOr<std::string> content;
    // Of one tree there can be several sources, and not each is the caller's to read.
    for (const v1::Artifact& kernel : kernels) {
      content = ReadSourceFile(*server, kernel.source(), path);
      if (!absl::IsNotFound(content.status())) break;
    }
    if (!content.ok()) return Failed(content.status());
    return content;
  }

 private:
  absl::StatusOr<std::filesystem::path> Vmlinux(const v1::Artifact& kernel) {
    KDBG_ASSIGN_OR_RETURN(Server * server, context_.server());
    Progress progress(context_.output());
    KDBG_ASSIGN_OR_RETURN(
        const client::Symbols symbols,
        SymbolCache(cache_).Fetch(*server, context_.interrupt(), progress, kernel, Scripts::kNo));
    return symbols.vmlinux;
  }

  absl::StatusOr<std::filesystem::path> Module(const v1::Artifact& kernel,
                                               const v1::ArtifactFile& module) {
    KDBG_ASSIGN_OR_RETURN(Server * server, context_.server());
    Progress progress(context_.output());
    return SymbolCache(cache_).FetchModule(*server, context_.interrupt(), progress, kernel, module);
  }

  // Those that have it or a module of it, at least one, with their files.
  absl::StatusOr<std::vector<v1::Artifact>> Find(const std::string& build_id) {
    if (const auto known = known_.find(build_id); known != known_.end()) return known->second;
    v1::ListArtifactsRequest request;
    request.set_all_owners(true);
    request.set_build_id(build_id);
    const auto all =
        context_.ListAll<v1::ArtifactService>(&v1::ArtifactService::Stub::ListArtifacts, request);
    if (!all.ok()) return Failed(all.status());
    std::vector<v1::Artifact> kernels;
    for (const v1::Artifact& artifact : all->artifacts()) {
      if (artifact.kind() != v1::Artifact::KERNEL) continue;
      v1::GetArtifactRequest get;
      get.set_name(artifact.name());
      auto kernel =
          context_.Call<v1::ArtifactService>(&v1::ArtifactService::Stub::GetArtifact, get);
      if (absl::IsNotFound(kernel.status())) continue;  // deleted meanwhile
      if (!kernel.ok()) return Failed(kernel.status());
      kernels.push_back(*std::move(kernel));
    }
    if (kernels.empty()) return absl::NotFoundError("no kernel or module with this build id");
    return known_[build_id] = std::move(kernels);
  }

  absl::Status Failed(const absl::Status& why) {
    if (absl::IsUnavailable(why)) context_.Disconnect();
    if (IsInterrupted(why)) interrupted_.Set();
    if (!absl::IsNotFound(why)) context_.output().Note(std::string(why.message()));
    return why;
  }

  Context& context_;
  const std::filesystem::path cache_;
  StopSignal& interrupted_;
  std::map<std::string, std::vector<v1::Artifact>> known_;
};

// A server cuts a connection that was idle for long.
template <typename Ask>
auto TwiceIfBroken(const Ask& ask) {
  auto answer = ask();
  return absl::IsUnavailable(answer.status()) ? ask() : answer;
}

}  // namespace

std::string NewUrlToken() {
  unsigned char bytes[16] = {};
  (void)!::getrandom(bytes, sizeof bytes, 0);
  std::string token;
  for (const unsigned char byte : bytes) token += fmt::format("{:02x}", byte);
  return token;
}

CommandEnd Debuginfod(Context& context, int port) {
  // Who may not talk to the server hears it now.
  KDBG_RETURN_IF_ERROR(context.server().status());
  KDBG_ASSIGN_OR_RETURN(std::filesystem::path cache,
                        UserCacheDirectory(PathEnvironment::Current()));
  // An interrupt ends the program, but while something is fetched: then that, and it by this.
  StopSignal interrupted;
  Kernels kernels(context, std::move(cache), interrupted);
  const std::string token = NewUrlToken();
  KDBG_ASSIGN_OR_RETURN(
      const std::unique_ptr<DebuginfodHttp> http,
      DebuginfodHttp::Start(token, port,
                            {.source =
                                 [&](const std::string& id, const std::string& path) {
                                   return TwiceIfBroken([&] { return kernels.Source(id, path); });
                                 },
                             .symbols =
                                 [&](const std::string& id) {
                                   return TwiceIfBroken([&] { return kernels.Symbols(id); });
                                 }}));
  const std::string url = fmt::format("http://127.0.0.1:{}/{}", http->port(), token);
  Output::Write(url + "\n");
  context.output().Note(
      fmt::format("in another shell: export DEBUGINFOD_URLS={}; whoever has this URL reads as you; "
                  "Ctrl-C ends it",
                  url));
  pollfd waiting = {.fd = interrupted.fd(), .events = POLLIN, .revents = 0};
  while (::poll(&waiting, 1, -1) < 0) {
  }
  return InterruptedError();
}

}  // namespace kdbg::client
