// A listening TCP port, held from the moment it is promised to a session until the session ends.
//
// It listens from the start, so nobody else can take the port in between; clients that come before
// a Door is opened on it wait in the kernel's queue. Move-only; abandoning it frees the port.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "proto/support/unique_fd.h"

namespace kdbg::gdb {

class ReservedPort {
 public:
  // `host` is a numeric address or "localhost"; port 0 takes any free one.
  //   ALREADY_EXISTS    another program has the port: try the next
  //   INVALID_ARGUMENT  no such address form
  static absl::StatusOr<ReservedPort> Bind(const std::string& host, int port);
  // Takes over a listening socket, as kept by systemd across a restart.
  static absl::StatusOr<ReservedPort> Adopt(UniqueFd listening);

  // The same port once more: it is free when both are gone.
  absl::StatusOr<ReservedPort> Duplicate() const;

  int port() const { return port_; }
  int fd() const { return fd_.get(); }
  [[nodiscard]] UniqueFd Release() && { return std::move(fd_); }

 private:
  ReservedPort(UniqueFd fd, int port) : fd_(std::move(fd)), port_(port) {}

  UniqueFd fd_;
  int port_ = 0;
};

}  // namespace kdbg::gdb
