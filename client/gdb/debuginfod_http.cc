#include "client/gdb/debuginfod_http.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "client/channel/download.h"
#include "proto/support/status_macros.h"
#include "proto/support/unique_fd.h"

namespace kdbg::client {
namespace {

constexpr std::string_view kSource = "source/src/";

absl::StatusOr<MHD_Response*> OfFile(const std::filesystem::path& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat about = {};
  if (!file || ::fstat(file.get(), &about) != 0) {
    return absl::UnavailableError(fmt::format("open {}: {}", path.string(), std::strerror(errno)));
  }
  return MHD_create_response_from_fd64(static_cast<std::uint64_t>(about.st_size), file.Release());
}

absl::StatusOr<MHD_Response*> OfText(const std::string& text) {
  return MHD_create_response_from_buffer(text.size(), const_cast<char*>(text.data()),
                                         MHD_RESPMEM_MUST_COPY);
}

// `asked` is what follows the token.
absl::StatusOr<MHD_Response*> ResponseTo(const DebuginfodAnswers& answers, std::string_view asked) {
  const std::size_t slash = asked.find('/');
  if (slash == std::string_view::npos) return absl::NotFoundError("no build id");
  const std::string build_id(asked.substr(0, slash));
  const std::string_view what = asked.substr(slash + 1);
  if (what == "debuginfo" || what == "executable") {
    KDBG_ASSIGN_OR_RETURN(const std::filesystem::path file, answers.symbols(build_id));
    return OfFile(file);
  }
  if (!what.starts_with(kSource)) return absl::NotFoundError("no such kind of file");
  // DWARF names headers as /src/arch/x86/../../include/...
  const auto path = std::filesystem::path(what.substr(kSource.size())).lexically_normal().string();
  if (!CheckRelativePath(path).ok()) return absl::NotFoundError("no path below the source");
  KDBG_ASSIGN_OR_RETURN(const std::string content, answers.source(build_id, path));
  return OfText(content);
}

}  // namespace

struct DebuginfodCallbacks {
  static MHD_Result Answer(void* self, MHD_Connection* connection, const char* url,
                           const char* method, const char*, const char*, std::size_t*, void**) {
    const auto& http = *static_cast<const DebuginfodHttp*>(self);
    const std::string_view path(url);
    unsigned status = MHD_HTTP_OK;
    absl::StatusOr<MHD_Response*> response;
    if (std::string_view(method) != MHD_HTTP_METHOD_GET) {
      status = MHD_HTTP_METHOD_NOT_ALLOWED;
      response = OfText("");
    } else if (!path.starts_with(http.prefix_)) {
      response = absl::NotFoundError("not for you");
    } else {
      response = ResponseTo(http.answers_, path.substr(http.prefix_.size()));
    }
    if (!response.ok()) {
      // Anything else may pass: gdb must not remember it as "no such file".
      status =
          absl::IsNotFound(response.status()) ? MHD_HTTP_NOT_FOUND : MHD_HTTP_SERVICE_UNAVAILABLE;
      response = OfText("");
    }
    const MHD_Result queued = MHD_queue_response(connection, status, *response);
    MHD_destroy_response(*response);
    return queued;
  }
};

absl::StatusOr<std::unique_ptr<DebuginfodHttp>> DebuginfodHttp::Start(const std::string& token,
                                                                      int port,
                                                                      DebuginfodAnswers answers) {
  std::unique_ptr<DebuginfodHttp> http(
      new DebuginfodHttp(fmt::format("/{}/buildid/", token), std::move(answers)));
  sockaddr_in loopback = {};
  loopback.sin_family = AF_INET;
  loopback.sin_port = htons(static_cast<std::uint16_t>(port));
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  http->daemon_ = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO, 0, nullptr,
                                   nullptr, &DebuginfodCallbacks::Answer, http.get(),
                                   MHD_OPTION_SOCK_ADDR, &loopback, MHD_OPTION_END);
  if (http->daemon_ == nullptr) {
    return absl::UnavailableError(
        fmt::format("cannot listen on port {} of the loopback for gdb's requests", port));
  }
  return http;
}

DebuginfodHttp::~DebuginfodHttp() {
  if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
}

int DebuginfodHttp::port() const {
  const MHD_DaemonInfo* info = MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_BIND_PORT);
  return info != nullptr ? info->port : 0;
}

}  // namespace kdbg::client
