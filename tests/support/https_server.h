// A web server with TLS on the loopback, whose files a test sets and which can be made to behave
// badly. Its certificate vouches for itself: ca_file().
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"

struct MHD_Daemon;

namespace kdbg {

class HttpsServer {
 public:
  struct File {
    std::string content = {};
    std::string tag = {};            // what its ETag is; empty: none
    std::string redirect = {};       // a URL instead of content
    unsigned status = 200;           // another one: an error with no content
    std::int64_t break_after = -1;   // bytes after which the connection drops
    int breaks = 0;                  // how many more times it does
    std::string content_after = {};  // takes the place of `content` after the first break
  };
  struct Request {
    std::string path;
    std::string range;  // as asked
    bool operator==(const Request&) const = default;
  };

  // Keeps its key in `folder`.
  explicit HttpsServer(const std::filesystem::path& folder);
  ~HttpsServer();
  HttpsServer(const HttpsServer&) = delete;

  std::filesystem::path ca_file() const { return folder_ / "cert.pem"; }
  std::string url(const std::string& path) const;
  void Set(const std::string& path, File file);
  std::vector<Request> requests() const;

 private:
  struct Callbacks;
  const std::filesystem::path folder_;
  mutable absl::Mutex mutex_;
  std::map<std::string, File> files_ ABSL_GUARDED_BY(mutex_);
  std::vector<Request> requests_ ABSL_GUARDED_BY(mutex_);
  MHD_Daemon* daemon_ = nullptr;
};

}  // namespace kdbg
