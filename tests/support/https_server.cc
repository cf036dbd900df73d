#include "tests/support/https_server.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "proto/support/file.h"
#include "proto/support/subprocess.h"

namespace kdbg {
namespace {

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "HttpsServer: %s\n", what);
  std::abort();
}

struct Body {
  std::string bytes;
  std::int64_t break_after = -1;
};

}  // namespace

struct HttpsServer::Callbacks {
  static ssize_t Read(void* self, std::uint64_t offset, char* into, std::size_t most) {
    const auto& body = *static_cast<const Body*>(self);
    std::size_t end = body.bytes.size();
    if (body.break_after >= 0) end = std::min(end, static_cast<std::size_t>(body.break_after));
    if (offset >= end) {
      return end < body.bytes.size() ? MHD_CONTENT_READER_END_WITH_ERROR
                                     : MHD_CONTENT_READER_END_OF_STREAM;
    }
    const std::size_t size = std::min(most, end - static_cast<std::size_t>(offset));
    std::memcpy(into, body.bytes.data() + offset, size);
    return static_cast<ssize_t>(size);
  }
  static void Free(void* self) { delete static_cast<Body*>(self); }

  static std::string Header(MHD_Connection* connection, const char* name) {
    const char* value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
    return value != nullptr ? value : "";
  }

  static MHD_Result Answer(void* self, MHD_Connection* connection, const char* url, const char*,
                           const char*, const char*, std::size_t*, void**) {
    auto& server = *static_cast<HttpsServer*>(self);
    auto body = std::make_unique<Body>();
    File file;
    const std::string range = Header(connection, "Range");
    {
      absl::MutexLock lock(&server.mutex_);
      server.requests_.push_back({url, range});
      const auto found = server.files_.find(url);
      file = found != server.files_.end() ? found->second : File{.status = 404};
      if (found != server.files_.end() && found->second.breaks > 0) {
        --found->second.breaks;
        body->break_after = file.break_after;
        if (!file.content_after.empty()) {
          found->second.content = std::exchange(found->second.content_after, {});
          found->second.tag += "'";
        }
      }
    }
    unsigned status = file.redirect.empty() ? file.status : 302;
    std::size_t from = 0;
    // "bytes=N-", and only of the very file that is meant.
    if (range.starts_with("bytes=") && Header(connection, "If-Range") == file.tag) {
      from =
          std::min<std::size_t>(std::strtoul(range.c_str() + 6, nullptr, 10), file.content.size());
      status = 206;
    }
    const std::string content_range = "bytes " + std::to_string(from) + "-" +
                                      std::to_string(file.content.size() - 1) + "/" +
                                      std::to_string(file.content.size());
    body->bytes = file.content.substr(from);
    const std::size_t size = body->bytes.size();
    MHD_Response* response =
        MHD_create_response_from_callback(size, 1024, &Read, body.release(), &Free);
    if (!file.tag.empty()) MHD_add_response_header(response, "ETag", file.tag.c_str());
    if (!file.redirect.empty()) {
      MHD_add_response_header(response, "Location", file.redirect.c_str());
    }
    if (status == 206) MHD_add_response_header(response, "Content-Range", content_range.c_str());
    const MHD_Result queued = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return queued;
  }
};

HttpsServer::HttpsServer(const std::filesystem::path& folder) : folder_(folder) {
  std::filesystem::create_directories(folder_);
  Subprocess::Options make;
  make.argv = {"openssl",
               "req",
               "-x509",
               "-newkey",
               "ec",
               "-pkeyopt",
               "ec_paramgen_curve:P-256",
               "-nodes",
               "-days",
               "2",
               "-subj",
               "/CN=localhost",
               "-addext",
               "subjectAltName=DNS:localhost",
               "-keyout",
               (folder_ / "key.pem").string(),
               "-out",
               ca_file().string()};
  const auto made = RunCommand(std::move(make));
  Require(made.ok() && made->status.ok(), "openssl made no certificate");
  const std::string key = *ReadFile(folder_ / "key.pem");
  const std::string certificate = *ReadFile(ca_file());
  sockaddr_in loopback = {};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  daemon_ = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_TLS, 0, nullptr, nullptr,
                             &Callbacks::Answer, this, MHD_OPTION_SOCK_ADDR, &loopback,
                             MHD_OPTION_HTTPS_MEM_KEY, key.c_str(), MHD_OPTION_HTTPS_MEM_CERT,
                             certificate.c_str(), MHD_OPTION_END);
  Require(daemon_ != nullptr, "cannot listen");
}

HttpsServer::~HttpsServer() { MHD_stop_daemon(daemon_); }

std::string HttpsServer::url(const std::string& path) const {
  const MHD_DaemonInfo* info = MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_BIND_PORT);
  return "https://localhost:" + std::to_string(info->port) + path;
}

void HttpsServer::Set(const std::string& path, File file) {
  absl::MutexLock lock(&mutex_);
  files_[path] = std::move(file);
}

std::vector<HttpsServer::Request> HttpsServer::requests() const {
  absl::MutexLock lock(&mutex_);
  return requests_;
}

}  // namespace kdbg
