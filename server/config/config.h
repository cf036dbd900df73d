// The daemon's configuration: one immutable struct, read once at start.
//
// Every error names the file, line and column. A key this program does not know is an error, so
// that a typing mistake cannot silently mean the default. deploy/kdbgd.toml.example shows every
// key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/network.h"

namespace kdbg::config {

struct Server {
  std::vector<std::string> listen;  // "unix:/path", "0.0.0.0:7443"; empty: the default socket
  std::filesystem::path state_dir;  // empty: the default for this user
  std::string log_level = "info";
  // Where the runner listens, when systemd runs it; empty: the daemon starts one of its own.
  std::string runner_socket;
  // Each owner's builds and guests run under one uid of this range (only when the daemon is root or
  // the runner has the right). Not used by any account of the host.
  std::int64_t first_owner_uid = 700000;
  std::int64_t owner_uid_count = 10000;
  std::int64_t maximum_upload_mib = 4096;
  std::int64_t upload_mib_per_second = 0;  // of one user; 0: as fast as they come
  int calls_per_second = 200;              // of one caller, after five times as many at once
};

struct Access {
  std::vector<std::string> admins;   // user names, beside root and the daemon's own user
  std::vector<std::string> viewers;  // may look but not make
  bool others_are_users = true;      // everybody else who can reach the socket
};

// How those who come over TCP are known; there is no TCP without it.
struct Tls {
  std::filesystem::path certificate;  // PEM, with its chain; empty: of kdbgd's own authority
  std::filesystem::path key;
  std::filesystem::path client_ca;   // who vouches for users; empty: kdbgd's own authority, by code
  std::filesystem::path client_crl;  // whom that one has revoked
  absl::Duration certificate_lifetime = absl::Hours(24 * 90);  // of users' certificates
};

struct Build {
  int jobs = 0;      // make -j of one build; 0: all processors
  int parallel = 1;  // builds at once
  int queue_limit = 64;
  std::int64_t memory_limit_mib = 0;  // of one build; 0: three quarters of the host's
  int process_limit = 4096;
  absl::Duration time_limit = absl::Hours(2);
  std::int64_t ccache_limit_mib = 5120;             // per owner
  std::int64_t free_space_floor_mib = 2048;         // with less on the disk no build is begun
  absl::Duration workspace_age = absl::Hours(336);  // unused for longer, it is removed
  std::int64_t workspace_limit_mib = 0;             // of all together; 0: a third of the disk
  absl::Duration artifact_age = absl::Hours(720);   // likewise, unless it is kept by somebody
  std::int64_t artifact_limit_mib = 0;              // of all together; 0: a third of the disk
  absl::Duration record_age = absl::Hours(720);  // builds without artifact, sources without build
  std::vector<std::filesystem::path> allowed_source_paths;  // for sources named by a server path
  std::vector<std::string> allowed_urls;         // beginnings of URLs that sources are fetched from
  std::filesystem::path ca_file;                 // who vouches for them; empty: the system's list
  std::filesystem::path ssh_config;              // for those by ssh; empty: ssh's own
  absl::Duration mirror_age = absl::Hours(720);  // unfetched for longer, a mirror is removed
  std::vector<std::string> trusted_remotes;      // "URL#REF": trusted as they come
  absl::Duration trusted_remote_period = absl::Hours(1);       // from one fetch to the next
  std::vector<std::string> trusted_kernel_configs = {"tiny"};  // that the service itself builds
};

struct Session {
  std::string gdb_host = "127.0.0.1";
  std::vector<Network> gdb_peers;     // other hosts that gdb may come from
  std::filesystem::path disk_images;  // what sessions may have disks on; empty: nothing
  int first_port = 20000;
  int last_port = 20999;
  std::string accelerator = "auto";  // auto, kvm, tcg
  absl::Duration default_ttl = absl::Hours(2);
  absl::Duration maximum_ttl = absl::Hours(48);
  absl::Duration boot_timeout = absl::Minutes(3);
  std::int64_t maximum_memory_mib = 0;  // of one guest; 0: half of the host's
  int maximum_vcpus = 0;                // of one guest; 0: all processors
  int maximum_sessions = 64;
  int total_vcpus = 0;                // of all guests; 0: no limit
  std::int64_t total_memory_mib = 0;  // of all guests; 0: three quarters of the host's
  // Of each user; 0: no limit but those of all.
  int user_sessions = 0;
  int user_vcpus = 0;
  std::int64_t user_memory_mib = 0;
  // Of what guests asked for again and again are cloned from; 0: every guest boots.
  std::int64_t template_memory_mib = 1024;
  std::int64_t warm_memory_mib = 512;  // of such clones made ahead; 0: none
};

struct Libvirt {
  std::string uri;               // empty: the embedded hypervisor below state_dir
  std::string apparmor_profile;  // of its guests; empty: none
};

// For Prometheus. It knows no callers, so it is for this host only.
struct Metrics {
  std::string listen;  // "127.0.0.1:9480"; empty: nowhere
};

struct Config {
  Server server;
  Access access;
  std::optional<Tls> tls;
  Build build;
  Session session;
  Libvirt libvirt;
  Metrics metrics;
};

struct TcpAddress {
  std::string host;  // of this host, in numbers; "::" and "0.0.0.0" are all of them
  int port = 0;      // 0: any that is free
};
// "10.0.0.1:7443", "[::]:7443".
std::optional<TcpAddress> ParseTcpAddress(std::string_view text);

// INVALID_ARGUMENT: "FILE:LINE:COLUMN: what and what to write instead".
absl::StatusOr<Config> ParseConfig(std::string_view text, std::string_view file_name);
absl::StatusOr<Config> LoadConfig(const std::filesystem::path& path);

}  // namespace kdbg::config
