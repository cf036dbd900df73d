// Where the daemon keeps what: the layout of the state directory, in one place.
//
//   kdbgd.db            state (SQLite)
//   store/              blobs, readable by digest: QEMU and kdbgctl on this host read in place
//   guests/<session>/   console log and sockets of one guest
//   libvirt/            the embedded hypervisor's own
//   the rest            closed to everybody else
#pragma once

#include <filesystem>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config/config.h"

namespace kdbg::app {

struct Paths {
  std::filesystem::path state;
  std::filesystem::path database;
  std::filesystem::path store;
  std::filesystem::path guests;
  std::filesystem::path templates;
  std::filesystem::path libvirt;
  std::filesystem::path git;
  std::filesystem::path uploads;
  std::filesystem::path mirrors;  // of remote repositories
  std::filesystem::path workspaces;
  std::filesystem::path seeds;
  std::filesystem::path gdb_indexes;  // where gdb works on the index of a new kernel
  std::filesystem::path logs;
  std::filesystem::path private_sockets;
  std::filesystem::path authority;             // kdbgd's own keys
  std::vector<std::filesystem::path> sockets;  // where clients connect
};

// Where a daemon of this configuration listens for this host.
absl::StatusOr<std::vector<std::filesystem::path>> UnixSockets(const config::Server& server);

// Made and with their modes when this returns. A second daemon on the same state is refused later,
// by the lock.
absl::StatusOr<Paths> MakePaths(const config::Server& server);

}  // namespace kdbg::app
