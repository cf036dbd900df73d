#include "server/source/remote_url.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "absl/strings/ascii.h"
#include "proto/contract/error.h"
#include "proto/contract/utf8.h"

namespace kdbg::source {
namespace {

constexpr std::size_t kShownBytes = 300;

struct CurlUrlDeleter {
  void operator()(CURLU* url) const { ::curl_url_cleanup(url); }
};
using CurlUrl = std::unique_ptr<CURLU, CurlUrlDeleter>;

std::string Part(const CurlUrl& url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (::curl_url_get(url.get(), part, &text, flags) != CURLUE_OK) return "";
  std::string value(text);
  ::curl_free(text);
  return value;
}

struct Parts {
  std::string scheme;
  std::string user;
  std::string host;
  std::string port;
  std::string path;
};

// Escapes that some servers undo before they look at the path, and some after.
bool IsAmbiguous(const std::string& path) {
  const std::string lower = absl::AsciiStrToLower(path);
  const std::string_view view(lower);
  return view.find("%2e") != view.npos || view.find("%2f") != view.npos ||
         view.find("%5c") != view.npos || view.find('\\') != view.npos;
}

std::optional<CurlUrl> Parse(const std::string& text, Parts& parts) {
  const bool printable = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
  CurlUrl url(::curl_url());
  if (!printable || url == nullptr ||
      ::curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME) !=
          CURLUE_OK) {
    return std::nullopt;
  }
  if (::curl_url_set(url.get(), CURLUPART_FRAGMENT, nullptr, 0) != CURLUE_OK) return std::nullopt;
  parts = {.scheme = Part(url, CURLUPART_SCHEME),
           .user = Part(url, CURLUPART_USER),
           .host = absl::AsciiStrToLower(Part(url, CURLUPART_HOST)),
           .port = Part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT),
           .path = Part(url, CURLUPART_PATH)};
  const bool known = parts.scheme == "https" || parts.scheme == "ssh" || parts.scheme == "file";
  const bool has_place = parts.scheme == "file" ? parts.host.empty() : !parts.host.empty();
  if (!known || !has_place || !Part(url, CURLUPART_PASSWORD).empty() || IsAmbiguous(parts.path)) {
    return std::nullopt;
  }
  // A host that begins so would be an option of ssh.
  if (parts.host.starts_with('-') || parts.user.starts_with('-')) return std::nullopt;
  return url;
}

bool Allows(const Parts& rule, const Parts& url) {
  if (rule.scheme != url.scheme || rule.host != url.host || rule.port != url.port) return false;
  if (!rule.user.empty() && rule.user != url.user) return false;
  std::string folder = rule.path;
  if (!folder.ends_with('/')) folder += '/';
  return url.path.starts_with(folder) || url.path + "/" == folder;
}

}  // namespace

absl::StatusOr<RemoteUrl> CheckRemoteUrl(std::string_view field, const std::string& url,
                                         std::span<const std::string> allowed) {
  Parts parts;
  const std::optional<CurlUrl> parsed = Parse(url, parts);
  if (!parsed) {
    return InvalidField(field, url,
                        "not a URL that can be fetched from: write https://HOST/PATH, "
                        "ssh://USER@HOST/PATH or file:///PATH, without a password or escaped dots");
  }
  const bool is_allowed = std::any_of(allowed.begin(), allowed.end(), [&](const std::string& text) {
    Parts rule;
    return Parse(text, rule).has_value() && Allows(rule, parts);
  });
  if (!is_allowed) {
    return MakeError(absl::StatusCode::kPermissionDenied, Reason::kUrlNotAllowed,
                     fmt::format("{}: this server does not fetch from there: send a directory or "
                                 "tarball, or ask an admin for it in build.allowed_urls",
                                 ShortUtf8(url, kShownBytes)),
                     {{"url", ShortUtf8(url, kShownBytes)}});
  }
  return RemoteUrl{.text = Part(*parsed, CURLUPART_URL, CURLU_NON_SUPPORT_SCHEME),
                   .scheme = parts.scheme,
                   .path = parts.path};
}

}  // namespace kdbg::source
