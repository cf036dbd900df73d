#include "client/gdb/source_http.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <microhttpd.h>
#include <netinet/in.h>

#include <filesystem>

#include "client/channel/download.h"

namespace kdbg::client {

struct SourceHttpCallbacks {
  static MHD_Result Answer(void* self, MHD_Connection* connection, const char* url,
                           const char* method, const char*, const char*, std::size_t*, void**) {
    const auto& http = *static_cast<const SourceHttp*>(self);
    std::string body;
    unsigned status = MHD_HTTP_METHOD_NOT_ALLOWED;
    if (std::string_view(method) == MHD_HTTP_METHOD_GET) status = http_status(http, url, body);
    MHD_Response* response =
        MHD_create_response_from_buffer(body.size(), body.data(), MHD_RESPMEM_MUST_COPY);
    const MHD_Result queued = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return queued;
  }

  static unsigned http_status(const SourceHttp& http, std::string_view url, std::string& body) {
    if (!url.starts_with(http.prefix_)) return MHD_HTTP_NOT_FOUND;
    // DWARF names headers as /src/arch/x86/../../include/...
    const auto path =
        std::filesystem::path(url.substr(http.prefix_.size())).lexically_normal().string();
    if (!CheckRelativePath(path).ok()) return MHD_HTTP_NOT_FOUND;
    auto content = http.fetch_(path);
    if (absl::IsNotFound(content.status())) return MHD_HTTP_NOT_FOUND;
    // Anything else may pass: gdb must not remember it as "no such file".
    if (!content.ok()) return MHD_HTTP_SERVICE_UNAVAILABLE;
    body = *std::move(content);
    return MHD_HTTP_OK;
  }
};

absl::StatusOr<std::unique_ptr<SourceHttp>> SourceHttp::Start(std::string token,
                                                              std::string build_id,
                                                              FetchSource fetch) {
  std::unique_ptr<SourceHttp> http(
      new SourceHttp(fmt::format("/{}/buildid/{}/source/src/", token, build_id), std::move(fetch)));
  sockaddr_in loopback = {};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  http->daemon_ = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO, 0, nullptr,
                                   nullptr, &SourceHttpCallbacks::Answer, http.get(),
                                   MHD_OPTION_SOCK_ADDR, &loopback, MHD_OPTION_END);
  if (http->daemon_ == nullptr) {
    return absl::InternalError("cannot listen on the loopback for gdb's source requests");
  }
  return http;
}

SourceHttp::~SourceHttp() {
  if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
}

int SourceHttp::port() const {
  const MHD_DaemonInfo* info = MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_BIND_PORT);
  return info != nullptr ? info->port : 0;
}

}  // namespace kdbg::client
