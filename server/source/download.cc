#include "server/source/download.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"
#include "server/base/disk_error.h"
#include "server/source/remote_url.h"

namespace kdbg::source {
namespace {

constexpr int kMostRedirects = 5;
constexpr int kMostTries = 5;  // without a byte more
constexpr long kConnectSeconds = 30;
constexpr long kSilenceSeconds = 60;
constexpr std::size_t kShownBytes = 300;
constexpr std::int64_t kProgressBytes = std::int64_t{4} << 20;

struct CurlDeleter {
  void operator()(CURL* curl) const { ::curl_easy_cleanup(curl); }
  void operator()(curl_slist* list) const { ::curl_slist_free_all(list); }
};

class Transfer {
 public:
  Transfer(const RemoteRules& rules, const UniqueFd& file,
           const std::function<void(std::int64_t)>& on_progress, const std::stop_token& stop)
      : rules_(rules), file_(file), on_progress_(on_progress), stop_(stop) {}

  absl::Status Run(std::string url);

 private:
  // What one request came to.
  enum class Outcome { kDone, kRedirected, kBrokenOff, kRefused };
  absl::StatusOr<Outcome> Request(const std::string& url);
  absl::StatusOr<Outcome> Judge(CURLcode code, const std::string& url);
  absl::Status Pause(int failures) const;
  absl::Status RefusedBy(const std::string& url) const;
  absl::Status UnavailableAt(const std::string& url) const;

  static std::size_t OnHeader(char* data, std::size_t size, std::size_t count, void* self);
  static std::size_t OnBody(char* data, std::size_t size, std::size_t count, void* self);
  static int OnTime(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t);
  bool Begin();
  absl::Status Append(std::string_view bytes);

  const RemoteRules& rules_;
  const UniqueFd& file_;
  const std::function<void(std::int64_t)>& on_progress_;
  const std::stop_token& stop_;

  std::unique_ptr<CURL, CurlDeleter> curl_{::curl_easy_init()};
  std::int64_t received_ = 0;
  std::int64_t reported_ = 0;
  std::string version_;       // of what is in the file, as the server names it; empty: unknown
  std::string next_version_;  // of this answer
  bool begun_ = false;        // this answer's body
  absl::Status failure_;      // of ours, in a callback
  std::string location_;
  std::string trouble_;
  long status_ = 0;
};

std::size_t Transfer::OnHeader(char* data, std::size_t size, std::size_t count, void* self) {
  const std::string_view line(data, size * count);
  auto& transfer = *static_cast<Transfer*>(self);
  if (line.starts_with("HTTP/")) transfer.next_version_.clear();
  constexpr std::string_view kTag = "etag:";
  if (line.size() > kTag.size() &&
      absl::EqualsIgnoreCase(absl::string_view(data, kTag.size()),
                             absl::string_view(kTag.data(), kTag.size()))) {
    const absl::string_view value = absl::StripAsciiWhitespace(
        absl::string_view(data + kTag.size(), line.size() - kTag.size()));
    // A weak one does not promise the same bytes.
    if (!absl::StartsWith(value, "W/")) transfer.next_version_ = std::string(value);
  }
  return line.size();
}

std::size_t Transfer::OnBody(char* data, std::size_t size, std::size_t count, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  if (!transfer.begun_ && !transfer.Begin()) return transfer.failure_.ok() ? size * count : 0;
  if (!transfer.begun_) return size * count;  // the page of an error
  transfer.failure_ = transfer.Append(std::string_view(data, size * count));
  return transfer.failure_.ok() ? size * count : 0;
}

int Transfer::OnTime(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Transfer*>(self)->stop_.stop_requested() ? 1 : 0;
}

// Whether the body that comes is the file; it may be all of it although we asked for the rest.
bool Transfer::Begin() {
  long status = 0;
  ::curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status != 200 && status != 206) return false;
  begun_ = true;
  version_ = next_version_;
  if (status == 206 && received_ > 0) return true;
  received_ = 0;
  reported_ = 0;
  if (::ftruncate(file_.get(), 0) != 0) failure_ = DiskError(errno, "truncate", "the download");
  return failure_.ok();
}

absl::Status Transfer::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file_.get(), bytes.data(), bytes.size(), received_);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return DiskError(errno, "write", "the download");
    bytes.remove_prefix(static_cast<std::size_t>(written));
    received_ += written;
  }
  if (received_ > rules_.maximum_bytes) {
    return MakeError(absl::StatusCode::kInvalidArgument, Reason::kArchiveTooLarge,
                     fmt::format("the file there is larger than {} MiB, which is what is taken",
                                 rules_.maximum_bytes >> 20));
  }
  if (received_ - reported_ >= kProgressBytes) {
    reported_ = received_;
    if (on_progress_) on_progress_(received_);
  }
  return absl::OkStatus();
}

absl::StatusOr<Transfer::Outcome> Transfer::Request(const std::string& url) {
  CURL* const curl = curl_.get();
  ::curl_easy_reset(curl);
  char trouble[CURL_ERROR_SIZE] = {};
  ::curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
  ::curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(curl, CURLOPT_USERAGENT, "kdbgd");
  ::curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  ::curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  ::curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kSilenceSeconds);
  ::curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, trouble);
  ::curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Transfer::OnHeader);
  ::curl_easy_setopt(curl, CURLOPT_HEADERDATA, this);
  ::curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::OnBody);
  ::curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
  ::curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  ::curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Transfer::OnTime);
  ::curl_easy_setopt(curl, CURLOPT_XFERINFODATA, this);
  const std::string ca_file = rules_.ca_file.string();
  if (!ca_file.empty()) ::curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file.c_str());
  std::unique_ptr<curl_slist, CurlDeleter> headers;
  if (version_.empty()) received_ = 0;  // what is there may be of another file
  if (received_ > 0) {
    ::curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(received_));
    headers.reset(::curl_slist_append(nullptr, ("If-Range: " + version_).c_str()));
    ::curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  }
  begun_ = false;
  location_.clear();
  const CURLcode code = ::curl_easy_perform(curl);
  trouble_ = trouble[0] != '\0' ? trouble : ::curl_easy_strerror(code);
  return Judge(code, url);
}

absl::StatusOr<Transfer::Outcome> Transfer::Judge(CURLcode code, const std::string& url) {
  KDBG_RETURN_IF_ERROR(failure_);
  if (stop_.stop_requested()) return absl::CancelledError("the download was stopped");
  ::curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &status_);
  switch (code) {
    case CURLE_OK:
      break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
      return Outcome::kRefused;
    case CURLE_RANGE_ERROR:
      version_.clear();  // begin anew
      return Outcome::kBrokenOff;
    default:
      return Outcome::kBrokenOff;
  }
  char* location = nullptr;
  ::curl_easy_getinfo(curl_.get(), CURLINFO_REDIRECT_URL, &location);
  if (location != nullptr) {
    location_ = location;
    return Outcome::kRedirected;
  }
  if (status_ == 416) version_.clear();
  if (status_ == 416 || status_ == 408 || status_ == 429 || status_ >= 500) {
    trouble_ = fmt::format("it answers {}", status_);
    return Outcome::kBrokenOff;
  }
  if (status_ != 200 && status_ != 206) {
    trouble_ = fmt::format("it answers {}", status_);
    return Outcome::kRefused;
  }
  if (!begun_ && !Begin()) return RefusedBy(url);  // an empty file
  return Outcome::kDone;
}

absl::Status Transfer::Pause(int failures) const {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock<std::mutex> lock(mutex);
  const absl::Duration pause = rules_.pause * (1 << (failures - 1));
  wake.wait_for(lock, stop_, absl::ToChronoMilliseconds(pause), [] { return false; });
  return stop_.stop_requested() ? absl::CancelledError("the download was stopped")
                                : absl::OkStatus();
}

absl::Status Transfer::RefusedBy(const std::string& url) const {
  const auto code = status_ == 404 || status_ == 410   ? absl::StatusCode::kNotFound
                    : status_ == 401 || status_ == 403 ? absl::StatusCode::kPermissionDenied
                                                       : absl::StatusCode::kFailedPrecondition;
  return MakeError(code, Reason::kRemoteRefused,
                   fmt::format("{} cannot be had: {}; see that the address is right and open to "
                               "this server",
                               ShortUtf8(url, kShownBytes), ShortUtf8(trouble_, kShownBytes)),
                   {{"url", ShortUtf8(url, kShownBytes)}});
}

absl::Status Transfer::UnavailableAt(const std::string& url) const {
  return MakeError(absl::StatusCode::kUnavailable, Reason::kRemoteUnavailable,
                   fmt::format("{} cannot be fetched: {}; try again later",
                               ShortUtf8(url, kShownBytes), ShortUtf8(trouble_, kShownBytes)),
                   {{"url", ShortUtf8(url, kShownBytes)}});
}

absl::Status Transfer::Run(std::string url) {
  if (curl_ == nullptr) return absl::ResourceExhaustedError("no memory for a download");
  int redirects = 0;
  int failures = 0;
  for (;;) {
    const std::int64_t before = received_;
    KDBG_ASSIGN_OR_RETURN(const Outcome outcome, Request(url));
    switch (outcome) {
      case Outcome::kDone:
        if (on_progress_) on_progress_(received_);
        return absl::OkStatus();
      case Outcome::kRefused:
        return RefusedBy(url);
      case Outcome::kRedirected: {
        if (++redirects > kMostRedirects) {
          trouble_ = "it sends us on and on";
          return RefusedBy(url);
        }
        KDBG_ASSIGN_OR_RETURN(const RemoteUrl next,
                              CheckRemoteUrl("tarball_url.url", location_, rules_.allowed_urls));
        url = next.text;
        break;
      }
      case Outcome::kBrokenOff:
        failures = received_ > before ? 1 : failures + 1;
        if (failures > kMostTries) return UnavailableAt(url);
        KDBG_RETURN_IF_ERROR(Pause(failures));
        break;
    }
  }
}

}  // namespace

absl::Status Download(const std::string& url, const RemoteRules& rules, const UniqueFd& file,
                      const std::function<void(std::int64_t bytes)>& on_progress,
                      const std::stop_token& stop) {
  KDBG_ASSIGN_OR_RETURN(const RemoteUrl checked,
                        CheckRemoteUrl("tarball_url.url", url, rules.allowed_urls));
  return Transfer(rules, file, on_progress, stop).Run(checked.text);
}

}  // namespace kdbg::source
