#include "server/vm/libvirt/embedded_root.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <pugixml.hpp>
#include <string>
#include <system_error>

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

// A driver that is killed while it starts an emulator may leave the domain's record without a
// process id. The emulator never ran: it waits for a word from the driver before it does. But
// libvirt 9.0 lists such a domain for ever as active and starting, looks after it no more
// (qemuProcessReconnectHelper), and lets each call on it wait 30 s for that start to end.
void ForgetUnstarted(const std::filesystem::path& root) {
  std::error_code none;  // of a root that no driver has used yet
  for (const auto& entry : std::filesystem::directory_iterator(root / "run" / "qemu", none)) {
    pugi::xml_document record;
    if (entry.path().extension() != ".xml" || !record.load_file(entry.path().c_str())) continue;
    const pugi::xml_node status = record.child("domstatus");
    if (!status || status.attribute("pid").as_llong() != 0) continue;
    spdlog::info("libvirt: {} was never started", entry.path().stem().string());
    std::error_code failed;
    for (const char* directory : {"libDir", "channelTargetDir"}) {
      const std::filesystem::path path = status.child(directory).attribute("path").value();
      if (path.native().starts_with((root / "lib").native() + "/")) {
        std::filesystem::remove_all(path, failed);
      }
    }
    std::filesystem::remove(std::filesystem::path(entry.path()).replace_extension(".pid"), failed);
    std::filesystem::remove(entry.path(), failed);
    if (failed) spdlog::warn("libvirt: {} stays: {}", entry.path().string(), failed.message());
  }
}

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
  ForgetUnstarted(root);
  std::string configuration(kQemuConf);
  if (::geteuid() == 0) configuration += kQemuConfOfRoot;
  return WriteFileAtomic(root / "etc" / "qemu.conf", configuration);
}

}  // namespace kdbg::vm
