#include "server/build/initramfs_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"

namespace kdbg::build {
namespace {

// Nothing here may fail for good: a kernel without one of these file systems still has to come to
// its shell. /dev has static nodes, so devtmpfs is not needed; mdev adds what else there is. The
// shell is started again when it ends, because the end of process 1 is a panic.
constexpr std::string_view kInit = R"(#!/bin/sh
export PATH=/sbin:/bin:/usr/sbin:/usr/bin HOME=/home/user TERM=vt100 PS1='\w $ '
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tmpfs -o mode=1777 tmpfs /tmp 2>/dev/null
mount -t tmpfs -o mode=0755 tmpfs /run 2>/dev/null
mdev -s 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts 2>/dev/null
hostname kdbg 2>/dev/null
if [ -e /sys/class/net/eth0 ]; then
  ifconfig lo up
  ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
fi
if grep -qs kdbg /sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag; then
  mkdir -p /mnt
  mount -t 9p -o trans=virtio,version=9p2000.L,ro kdbg /mnt
fi
read -r up idle < /proc/uptime
echo "Boot took $up seconds"
echo "kdbg: userspace is up"
cd /home/user
while :; do
  setsid cttyhack setuidgid user sh
  echo "kdbg: the shell has ended; here is another"
  sleep 1
done
)";

constexpr std::string_view kPasswd =
    "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
constexpr std::string_view kGroup = "root:x:0:\ntty:x:5:\nuser:x:1000:\n";
// Without it mdev closes to everybody but root what an ordinary user's shell opens all the time.
constexpr std::string_view kMdevConf =
    "null 0:0 666\nzero 0:0 666\nfull 0:0 666\nrandom 0:0 666\nurandom 0:0 666\n"
    "tty 0:0 666\nptmx 0:5 666\nconsole 0:5 620\ntty.* 0:5 620\nhvc.* 0:5 620\n";

struct Device {
  std::string_view path;
  int mode;
  int major;
  int minor;
};
constexpr Device kDevices[] = {
    {"dev/console", 0620, 5, 1}, {"dev/null", 0666, 1, 3},       {"dev/zero", 0666, 1, 5},
    {"dev/full", 0666, 1, 7},    {"dev/random", 0666, 1, 8},     {"dev/urandom", 0666, 1, 9},
    {"dev/kmsg", 0644, 1, 11},   {"dev/tty", 0666, 5, 0},        {"dev/tty0", 0620, 4, 0},
    {"dev/ptmx", 0666, 5, 2},    {"dev/ttyS0", 0620, 4, 64},     {"dev/ttyS1", 0620, 4, 65},
    {"dev/hvc0", 0620, 229, 0},  {"dev/ttyAMA0", 0620, 204, 64},
};

constexpr std::string_view kDirectories[] = {
    "bin", "dev",  "etc", "home", "home/user", "lib",     "mnt",      "proc", "root",
    "run", "sbin", "sys", "tmp",  "usr",       "usr/bin", "usr/sbin", "var",
};

bool IsProgramPath(std::string_view path) {
  return path.size() > 1 && path.size() < 200 && path[0] == '/' && path.back() != '/' &&
         path.find("//") == std::string_view::npos && path.find("/.") == std::string_view::npos &&
         std::all_of(path.begin(), path.end(), [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  std::string_view("/._-[+").find(static_cast<char>(c)) != std::string_view::npos;
         });
}

// Sorted by path, so that folders come before what is in them and order is always the same.
using Tree = std::map<std::string, CpioEntry>;

// The folders above `path`, made where they are missing.
absl::Status MakeParents(Tree& tree, const std::string& path) {
  for (std::size_t slash = path.find('/'); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    const std::string folder = path.substr(0, slash);
    const auto [found, added] =
        tree.try_emplace(folder, CpioEntry{.kind = CpioEntry::Kind::kDirectory, .path = folder});
    if (found->second.kind == CpioEntry::Kind::kDirectory) continue;
    return MakeError(absl::StatusCode::kInvalidArgument, Reason::kArchiveUnsafeMember,
                     fmt::format("an overlay has {}, but {} is no folder in the initramfs: pack it "
                                 "where that leads to, or replace it by a folder",
                                 path, folder),
                     {{"member", path}});
  }
  return absl::OkStatus();
}

absl::Status LayOver(Tree& tree, std::vector<CpioEntry> layer) {
  for (CpioEntry& entry : layer) {
    KDBG_RETURN_IF_ERROR(MakeParents(tree, entry.path));
    const auto below = tree.lower_bound(entry.path + "/");
    if (entry.kind != CpioEntry::Kind::kDirectory && below != tree.end() &&
        below->first.starts_with(entry.path + "/")) {
      return MakeError(absl::StatusCode::kInvalidArgument, Reason::kArchiveUnsafeMember,
                       fmt::format("an overlay has {}, which is no folder, but the initramfs has "
                                   "{} in a folder of that name: leave it out",
                                   entry.path, below->first),
                       {{"member", entry.path}});
    }
    std::string path = entry.path;
    tree.insert_or_assign(std::move(path), std::move(entry));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view InitScript() { return kInit; }

absl::StatusOr<std::vector<CpioEntry>> InitramfsTree(InitramfsContent content) {
  using Kind = CpioEntry::Kind;
  Tree tree;
  const auto add = [&](CpioEntry entry) {
    std::string path = entry.path;
    tree.insert_or_assign(std::move(path), std::move(entry));
  };
  for (std::string_view path : kDirectories) {
    add({.kind = Kind::kDirectory, .path = std::string(path)});
  }
  tree["tmp"].mode = 01777;
  tree["root"].mode = 0700;
  // Files in it belong to root, like everything here; the user may make others.
  tree["home/user"].mode = 01777;

  std::string_view links = content.links;
  while (!links.empty()) {
    const std::size_t end = links.find('\n');
    const std::string_view link = links.substr(0, end);
    links = end == std::string_view::npos ? std::string_view() : links.substr(end + 1);
    if (link.empty()) continue;
    if (!IsProgramPath(link)) {
      return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kOutputUnsafe,
                       "busybox.links of this build names something that is no path of a program",
                       {{"path", "busybox.links"}});
    }
    KDBG_RETURN_IF_ERROR(MakeParents(tree, std::string(link.substr(1))));
    add({.kind = Kind::kSymlink,
         .path = std::string(link.substr(1)),
         .mode = 0777,
         .content = "/bin/busybox"});
  }
  for (const Device& device : kDevices) {
    add({.kind = Kind::kCharacterDevice,
         .path = std::string(device.path),
         .mode = device.mode,
         .device_major = device.major,
         .device_minor = device.minor});
  }
  add({.path = "bin/busybox", .content = std::move(content.busybox)});
  add({.path = "etc/passwd", .mode = 0644, .content = std::string(kPasswd)});
  add({.path = "etc/group", .mode = 0644, .content = std::string(kGroup)});
  add({.path = "etc/mdev.conf", .mode = 0644, .content = std::string(kMdevConf)});
  add({.path = "init", .content = std::string(kInit)});
  for (std::vector<CpioEntry>& layer : content.layers) {
    KDBG_RETURN_IF_ERROR(LayOver(tree, std::move(layer)));
  }
  if (!content.init.empty()) add({.path = "init", .content = std::move(content.init)});

  std::vector<CpioEntry> entries;
  entries.reserve(tree.size());
  for (auto& [path, entry] : tree) entries.push_back(std::move(entry));
  return entries;
}

}  // namespace kdbg::build
