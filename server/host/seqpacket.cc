#include "server/host/seqpacket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"

namespace kdbg::host {
namespace {

// sockaddr_un holds 107 characters and state directories can be deeper than that.
struct Address {
  sockaddr_un name{};
  UniqueFd directory;  // kept open while the name leads through it
};

absl::StatusOr<Address> AddressOf(const std::filesystem::path& path) {
  Address address;
  address.name.sun_family = AF_UNIX;
  std::string text = path.string();
  if (text.size() >= sizeof address.name.sun_path) {
    address.directory.Reset(::open(path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!address.directory) return ErrnoError(errno, "open " + path.parent_path().string());
    text = fmt::format("/proc/self/fd/{}/{}", address.directory.get(), path.filename().string());
    if (text.size() >= sizeof address.name.sun_path) {
      return absl::InvalidArgumentError("a socket name that is too long: " + path.string());
    }
  }
  std::memcpy(address.name.sun_path, text.c_str(), text.size() + 1);
  return address;
}

absl::StatusOr<UniqueFd> NewSocket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoError(errno, "make a socket");
  return fd;
}

}  // namespace

absl::StatusOr<UniqueFd> ListenSeqpacket(const std::filesystem::path& path) {
  KDBG_ASSIGN_OR_RETURN(const Address address, AddressOf(path));
  KDBG_ASSIGN_OR_RETURN(UniqueFd fd, NewSocket());
  ::unlink(path.c_str());
  const auto* name = reinterpret_cast<const sockaddr*>(&address.name);
  if (::bind(fd.get(), name, sizeof address.name) != 0) {
    return ErrnoError(errno, "make the socket " + path.string());
  }
  if (::chmod(path.c_str(), 0600) != 0) return ErrnoError(errno, "chmod " + path.string());
  if (::listen(fd.get(), SOMAXCONN) != 0) return ErrnoError(errno, "listen on " + path.string());
  return fd;
}

absl::StatusOr<UniqueFd> ConnectSeqpacket(const std::filesystem::path& path) {
  KDBG_ASSIGN_OR_RETURN(const Address address, AddressOf(path));
  KDBG_ASSIGN_OR_RETURN(UniqueFd fd, NewSocket());
  const auto* name = reinterpret_cast<const sockaddr*>(&address.name);
  while (::connect(fd.get(), name, sizeof address.name) != 0) {
    if (errno != EINTR) return ErrnoError(errno, "connect to " + path.string());
  }
  return fd;
}

}  // namespace kdbg::host
