#include "server/vm/libvirt/embedded_root.h"

#include <fmt/format.h>
#include <unistd.h>

#include <string>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::vm {
namespace {

// virtlogd is not there, so QEMU gets its log files directly. Control groups would need systemd, or
// rights that a container lacks; and so would the attributes that remember whose a file was, of
// files that no domain of ours relabels. Found on a host that also has libvirtd, its AppArmor
// driver would write a profile for each domain, which only libvirtd may load; confinement.h is
// ours.
constexpr std::string_view kQemuConf = R"(# Written by kdbgd at each start.
stdio_handler = "file"
cgroup_controllers = []
remember_owner = 0
security_driver = "none"
)";

// libvirt asks again at every step whether its "user" may open /dev/kvm; where only root may, but
// the emulator's probe (which libvirt runs with more rights) could, it finds its cached
// capabilities outdated eleven times per domain: 48 s instead of 0.2 s. Every domain of ours
// carries the uid it really runs under.
constexpr std::string_view kQemuConfOfRoot = R"(user = "+0"
group = "+0"
)";

// sun_path is 108 bytes; libvirt adds "/lib/qemu/domain-NNNNN-" and 20 bytes of the name and
// "/monitor.sock".
constexpr std::size_t kMaxRootLength = 107 - 23 - 20 - 13;

}  // namespace

std::optional<std::filesystem::path> EmbeddedRoot(std::string_view uri) {
  const std::size_t question = uri.find('?');
  if (!uri.substr(0, question).ends_with("/embed") || question == std::string_view::npos) {
    return std::nullopt;
  }
  std::string_view query = uri.substr(question + 1);
  while (!query.empty()) {
    const std::size_t end = query.find('&');
    const std::string_view parameter = query.substr(0, end);
    if (parameter.starts_with("root=")) return std::filesystem::path(parameter.substr(5));
    query = end == std::string_view::npos ? "" : query.substr(end + 1);
  }
  return std::nullopt;
}

absl::Status PrepareEmbeddedRoot(const std::filesystem::path& root) {
  if (!root.is_absolute()) {
    return InvalidField("libvirt.uri", root.string(),
                        "the root of an embedded hypervisor is an absolute path: "
                        "qemu:///embed?root=/var/lib/kdbgd/libvirt");
  }
  if (root.native().size() > kMaxRootLength) {
    return InvalidField(
        "libvirt.uri", root.string(),
        fmt::format(
            "the root of an embedded hypervisor is at most {} bytes long, so that sockets in it "
            "have room: {} is too long, choose a shorter state directory",
            kMaxRootLength, root.string()));
  }
  KDBG_RETURN_IF_ERROR(MakeDirectories(root, 0711));
  KDBG_RETURN_IF_ERROR(MakeDirectories(root / "etc", 0755));
  std::string configuration(kQemuConf);
  if (::geteuid() == 0) configuration += kQemuConfOfRoot;
  return WriteFileAtomic(root / "etc" / "qemu.conf", configuration);
}

}  // namespace kdbg::vm
