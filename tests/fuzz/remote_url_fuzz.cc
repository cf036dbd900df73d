// URLs from users: whatever is allowed lies below what is allowed, and is the same when it is read
// again.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "server/source/git_mirrors.h"
#include "server/source/remote_url.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::string> allowed = {"https://git.example.org/pub/",
                                                   "file:///srv/git/"};
  const std::string text(reinterpret_cast<const char*>(data), size);
  (void)kdbg::source::IsRefName(text);
  const auto url = kdbg::source::CheckRemoteUrl("url", text, allowed);
  if (!url.ok()) return 0;
  const bool https = url->scheme == "https" && url->path.starts_with("/pub");
  const bool file = url->scheme == "file" && url->path.starts_with("/srv/git");
  if (!https && !file) std::abort();
  if (url->path.find("/../") != std::string::npos || url->path.ends_with("/..")) std::abort();
  const auto again = kdbg::source::CheckRemoteUrl("url", url->text, allowed);
  if (!again.ok() || again->text != url->text) std::abort();
  return 0;
}
