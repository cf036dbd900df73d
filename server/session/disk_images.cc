#include "server/session/disk_images.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <system_error>

#include "proto/contract/error.h"
#include "proto/contract/utf8.h"
#include "proto/support/unique_fd.h"
#include "server/session/qcow2_header.h"

namespace kdbg::session {
namespace {

constexpr std::size_t kLongestName = 100;
// Also in QEMU's command line, where a comma would begin another option.
constexpr std::string_view kInNames =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

std::optional<vm::Disk::Format> FormatOf(std::string_view name) {
  if (name.empty() || name.size() > kLongestName || name.front() == '.' ||
      name.find_first_not_of(kInNames) != name.npos) {
    return std::nullopt;
  }
  // By its name, not by its bytes: what a guest wrote into plain ones could look like qcow2.
  if (name.ends_with(".qcow2")) return vm::Disk::Format::kQcow2;
  if (name.ends_with(".img") || name.ends_with(".raw")) return vm::Disk::Format::kRaw;
  return std::nullopt;
}

absl::Status Unusable(std::string_view name, std::string_view why) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kWrongState,
                   fmt::format("disk image {}: {}: ask an admin", name, why),
                   {{"resource", std::string(name)}});
}

}  // namespace

std::vector<std::string> DiskImages::Names() const {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
    const std::string name = entry.path().filename();
    if (FormatOf(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status DiskImages::Check(const std::string& name) const {
  const auto format = FormatOf(name);
  if (!format) {
    return InvalidField("session.disk.image", ShortUtf8(name, 64),
                        "a disk image is called NAME.qcow2, NAME.img or NAME.raw");
  }
  const UniqueFd file(directory_.empty()
                          ? -1
                          : ::open((directory_ / name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat about = {};
  if (!file || ::fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode)) {
    const std::vector<std::string> names = Names();
    return MakeError(
        absl::StatusCode::kNotFound, Reason::kResourceNotFound,
        names.empty()
            ? "this server has no disk images: its admin can put some into disk_images of [session]"
            : fmt::format("no disk image is called {}; there are {}", name, fmt::join(names, ", ")),
        {{"resource", name}});
  }
  // QEMU runs under the owner's uid.
  if ((about.st_mode & S_IROTH) == 0) return Unusable(name, "guests may not read it");
  if (*format == vm::Disk::Format::kRaw) return absl::OkStatus();
  char header[kQcow2HeaderBytes];
  const ssize_t size = ::pread(file.get(), header, sizeof header, 0);
  const absl::Status alone =
      CheckStandsAlone({header, static_cast<std::size_t>(std::max<ssize_t>(size, 0))});
  return alone.ok() ? alone : Unusable(name, std::string(alone.message()));
}

vm::Disk DiskImages::Locate(std::string_view name) const {
  return {.image = directory_ / name, .format = FormatOf(name).value_or(vm::Disk::Format::kRaw)};
}

}  // namespace kdbg::session
