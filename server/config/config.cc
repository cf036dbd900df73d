#include "server/config/config.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <toml++/toml.h>
#include <algorithm>
#include <charconv>
#include <iterator>
#include <set>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/status_macros.h"

namespace kdbg::config {
namespace {

absl::Status Wrong(std::string_view file, const toml::source_region& where,
                   std::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, Reason::kConfigInvalid,
                   fmt::format("{}:{}:{}: {}", file, where.begin.line, where.begin.column, message),
                   {{"line", std::to_string(where.begin.line)}});
}

// Reads the keys of one [section]; remembers the first error and which keys it was asked for.
class Section {
 public:
  Section(std::string_view file, std::string_view name, const toml::table& document)
      : file_(file), name_(name) {
    const toml::node* node = document.get(name);
    if (node == nullptr) return;
    table_ = node->as_table();
    if (table_ == nullptr) Fail(*node, fmt::format("'{}' must be a table, [{}]", name, name));
  }

  void Read(std::string_view key, std::string& into) {
    if (const toml::node* node = Take(key)) {
      if (const auto* value = node->as_string()) {
        into = value->get();
      } else {
        Fail(*node, fmt::format("{}.{} must be a text in quotes", name_, key));
      }
    }
  }

  void Read(std::string_view key, bool& into) {
    if (const toml::node* node = Take(key)) {
      if (const auto* value = node->as_boolean()) {
        into = value->get();
      } else {
        Fail(*node, fmt::format("{}.{} must be true or false", name_, key));
      }
    }
  }

  template <typename Integer>
  void Read(std::string_view key, Integer& into, std::int64_t least, std::int64_t most) {
    if (const toml::node* node = Take(key)) {
      const auto* value = node->as_integer();
      if (value != nullptr && value->get() >= least && value->get() <= most) {
        into = static_cast<Integer>(value->get());
      } else {
        Fail(*node,
             fmt::format("{}.{} must be a whole number from {} to {}", name_, key, least, most));
      }
    }
  }

  // "90s", "30m", "2h": absl's own form.
  void Read(std::string_view key, absl::Duration& into) {
    if (const toml::node* node = Take(key)) {
      const auto* value = node->as_string();
      absl::Duration parsed;
      if (value != nullptr && absl::ParseDuration(value->get(), &parsed) &&
          parsed > absl::ZeroDuration()) {
        into = parsed;
      } else {
        Fail(*node, fmt::format("{}.{} must be a duration such as \"90s\", \"30m\" or \"2h\"",
                                name_, key));
      }
    }
  }

  void Read(std::string_view key, std::filesystem::path& into) {
    std::string text;
    Read(key, text);
    into = text;
  }

  template <typename Text>
  void Read(std::string_view key, std::vector<Text>& into) {
    const toml::node* node = Take(key);
    if (node == nullptr) return;
    const toml::array* array = node->as_array();
    if (array == nullptr || !(array->empty() || array->is_homogeneous<std::string>())) {
      Fail(*node, fmt::format("{}.{} must be a list of texts", name_, key));
      return;
    }
    into.clear();
    for (const toml::node& item : *array) into.emplace_back(item.as_string()->get());
  }

  void Read(std::string_view key, std::vector<Network>& into) {
    std::vector<std::string> texts;
    Read(key, texts);
    into.clear();
    for (const std::string& text : texts) {
      if (const auto network = Network::Parse(text)) {
        into.push_back(*network);
      } else {
        Fail(*table_->get(key),
             fmt::format("{}.{}: '{}' is no address and no block such as \"10.1.0.0/16\"", name_,
                         key, text));
      }
    }
  }
  bool present() const { return table_ != nullptr; }

  // After every key was read: the first error, or the first key nobody asked for.
  absl::Status Finish() {
    if (status_.ok() && table_ != nullptr) {
      for (const auto& [key, node] : *table_) {
        if (!known_.contains(key.str())) {
          return Wrong(file_, key.source(),
                       fmt::format("unknown key '{}' in [{}]; known are: {}", key.str(), name_,
                                   fmt::join(known_, ", ")));
        }
      }
    }
    return status_;
  }

 private:
  const toml::node* Take(std::string_view key) {
    known_.insert(std::string(key));
    return table_ != nullptr ? table_->get(key) : nullptr;
  }

  void Fail(const toml::node& node, std::string_view message) {
    if (status_.ok()) status_ = Wrong(file_, node.source(), message);
  }

  std::string_view file_;
  std::string_view name_;
  const toml::table* table_ = nullptr;
  std::set<std::string, std::less<>> known_;
  absl::Status status_;
};

constexpr std::int64_t kMaxPort = 65535;
constexpr std::int64_t kMaxMib = std::int64_t{1} << 24;

absl::Status ReadServer(Section section, Server& server) {
  std::string state_dir;
  section.Read("listen", server.listen);
  section.Read("state_dir", state_dir);
  section.Read("log_level", server.log_level);
  section.Read("runner_socket", server.runner_socket);
  section.Read("first_owner_uid", server.first_owner_uid, 1000, 4294000000);
  section.Read("owner_uid_count", server.owner_uid_count, 1, 1000000);
  section.Read("maximum_upload_mib", server.maximum_upload_mib, 1, kMaxMib);
  section.Read("upload_mib_per_second", server.upload_mib_per_second, 0, kMaxMib);
  section.Read("calls_per_second", server.calls_per_second, 1, 100'000);
  server.state_dir = state_dir;
  return section.Finish();
}

absl::Status ReadAccess(Section section, Access& access) {
  section.Read("admins", access.admins);
  section.Read("viewers", access.viewers);
  section.Read("others_are_users", access.others_are_users);
  return section.Finish();
}

absl::Status ReadTls(Section section, std::optional<Tls>& tls) {
  if (!section.present()) return absl::OkStatus();
  Tls& into = tls.emplace();
  section.Read("certificate", into.certificate);
  section.Read("key", into.key);
  section.Read("client_ca", into.client_ca);
  section.Read("client_crl", into.client_crl);
  section.Read("certificate_lifetime", into.certificate_lifetime);
  return section.Finish();
}

absl::Status ReadBuild(Section section, Build& build) {
  section.Read("jobs", build.jobs, 0, 1024);
  section.Read("parallel", build.parallel, 1, 256);
  section.Read("queue_limit", build.queue_limit, 1, 10000);
  section.Read("memory_limit_mib", build.memory_limit_mib, 0, kMaxMib);
  section.Read("process_limit", build.process_limit, 16, 1000000);
  section.Read("time_limit", build.time_limit);
  section.Read("ccache_limit_mib", build.ccache_limit_mib, 16, kMaxMib);
  section.Read("free_space_floor_mib", build.free_space_floor_mib, 0, kMaxMib);
  section.Read("workspace_age", build.workspace_age);
  section.Read("workspace_limit_mib", build.workspace_limit_mib, 0, kMaxMib);
  section.Read("artifact_age", build.artifact_age);
  section.Read("record_age", build.record_age);
  section.Read("artifact_limit_mib", build.artifact_limit_mib, 0, kMaxMib);
  section.Read("allowed_source_paths", build.allowed_source_paths);
  section.Read("allowed_urls", build.allowed_urls);
  std::string ca_file;
  section.Read("ca_file", ca_file);
  build.ca_file = ca_file;
  std::string ssh_config;
  section.Read("ssh_config", ssh_config);
  build.ssh_config = ssh_config;
  section.Read("mirror_age", build.mirror_age);
  section.Read("trusted_remotes", build.trusted_remotes);
  section.Read("trusted_remote_period", build.trusted_remote_period);
  section.Read("trusted_kernel_configs", build.trusted_kernel_configs);
  return section.Finish();
}

absl::Status ReadSession(Section section, Session& session) {
  section.Read("gdb_host", session.gdb_host);
  section.Read("gdb_peers", session.gdb_peers);
  section.Read("first_port", session.first_port, 1024, kMaxPort);
  section.Read("last_port", session.last_port, 1024, kMaxPort);
  section.Read("accelerator", session.accelerator);
  section.Read("default_ttl", session.default_ttl);
  section.Read("maximum_ttl", session.maximum_ttl);
  section.Read("boot_timeout", session.boot_timeout);
  section.Read("maximum_memory_mib", session.maximum_memory_mib, 0, kMaxMib);
  section.Read("maximum_vcpus", session.maximum_vcpus, 0, 1024);
  section.Read("maximum_sessions", session.maximum_sessions, 1, 10000);
  section.Read("total_vcpus", session.total_vcpus, 0, 100000);
  section.Read("total_memory_mib", session.total_memory_mib, 0, kMaxMib);
  section.Read("user_sessions", session.user_sessions, 0, 10000);
  section.Read("user_vcpus", session.user_vcpus, 0, 100000);
  section.Read("user_memory_mib", session.user_memory_mib, 0, kMaxMib);
  section.Read("template_memory_mib", session.template_memory_mib, 0, kMaxMib);
  section.Read("warm_memory_mib", session.warm_memory_mib, 0, kMaxMib);
  section.Read("disk_images", session.disk_images);
  return section.Finish();
}

absl::Status ReadLibvirt(Section section, Libvirt& libvirt) {
  section.Read("uri", libvirt.uri);
  section.Read("apparmor_profile", libvirt.apparmor_profile);
  return section.Finish();
}

absl::Status ReadMetrics(Section section, Metrics& metrics) {
  section.Read("listen", metrics.listen);
  return section.Finish();
}

bool IsLoopback(const TcpAddress& address) {
  static const Network networks[] = {*Network::Parse("127.0.0.0/8"), *Network::Parse("::1")};
  return std::any_of(std::begin(networks), std::end(networks),
                     [&](const Network& network) { return network.Contains(address.host); });
}

absl::Status CheckSections(std::string_view file, const toml::table& document) {
  static constexpr std::string_view kSections[] = {"server",  "access",  "tls",    "build",
                                                   "session", "libvirt", "metrics"};
  for (const auto& [key, node] : document) {
    if (std::find(std::begin(kSections), std::end(kSections), key.str()) == std::end(kSections)) {
      return Wrong(file, key.source(),
                   fmt::format("unknown section '{}'; known are: {}", key.str(),
                               fmt::join(kSections, ", ")));
    }
  }
  return absl::OkStatus();
}

// What no single key can say.
absl::Status CheckTogether(std::string_view file, const Config& config) {
  const auto wrong = [&](std::string_view message) {
    return MakeError(absl::StatusCode::kInvalidArgument, Reason::kConfigInvalid,
                     fmt::format("{}: {}", file, message));
  };
  for (const std::string& address : config.server.listen) {
    if (address.starts_with("unix:/")) continue;
    if (!ParseTcpAddress(address)) {
      return wrong(fmt::format(
          "server.listen: '{}' is neither unix:/PATH nor an address of this host and a port, "
          "such as 0.0.0.0:7443 or [::]:7443",
          address));
    }
    if (!config.tls) {
      return wrong(fmt::format(
          "server.listen: '{}' is a TCP address, and kdbgd speaks TLS there or nothing: add a "
          "section [tls] (it may be empty: kdbgd then keeps a certificate authority of its own), "
          "or take the address out and reach unix:/PATH by ssh://HOST",
          address));
    }
  }
  if (config.tls && config.tls->certificate.empty() != config.tls->key.empty()) {
    return wrong("tls.certificate and tls.key belong together: name both or neither");
  }
  if (config.tls && !config.tls->client_crl.empty() && config.tls->client_ca.empty()) {
    return wrong(
        "tls.client_crl is of tls.client_ca: kdbgd's own users are revoked by "
        "`kdbgd user revoke NAME`");
  }
  if (config.tls && config.tls->certificate_lifetime < absl::Hours(1)) {
    return wrong("tls.certificate_lifetime must be \"1h\" or more");
  }
  const std::string& uri = config.libvirt.uri;
  if (!config.libvirt.apparmor_profile.empty() && !uri.empty() && uri.find("/embed") == uri.npos) {
    return wrong(fmt::format(
        "libvirt.apparmor_profile is for guests of the embedded hypervisor, and {} is another: "
        "what confines its guests is in libvirt's own qemu.conf; take one of the two out",
        uri));
  }
  const auto metrics = ParseTcpAddress(config.metrics.listen);
  if (!config.metrics.listen.empty() && (!metrics || !IsLoopback(*metrics))) {
    return wrong(fmt::format(
        "metrics.listen: '{}' is not an address of the loopback and a port, such as 127.0.0.1:9480 "
        "or [::1]:9480: whoever reaches it can read it, so let Prometheus come by this host",
        config.metrics.listen));
  }
  if (config.session.first_port > config.session.last_port) {
    return wrong("session.first_port is above session.last_port");
  }
  if (config.session.default_ttl > config.session.maximum_ttl) {
    return wrong("session.default_ttl is above session.maximum_ttl");
  }
  const std::string& accelerator = config.session.accelerator;
  if (accelerator != "auto" && accelerator != "kvm" && accelerator != "tcg") {
    return wrong("session.accelerator must be \"auto\", \"kvm\" or \"tcg\"");
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<TcpAddress> ParseTcpAddress(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  TcpAddress address;
  const std::string_view port = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (error != std::errc() || end != port.data() + port.size() || port.front() == '-' ||
      address.port > kMaxPort) {
    return std::nullopt;
  }
  std::string_view host = text.substr(0, colon);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  address.host = host;
  in6_addr bytes = {};
  const int family = brackets ? AF_INET6 : AF_INET;
  if (::inet_pton(family, address.host.c_str(), &bytes) != 1) return std::nullopt;
  return address;
}

absl::StatusOr<Config> ParseConfig(std::string_view text, std::string_view file_name) {
  toml::table document;
  try {  // toml++ as Debian builds it reports by exception
    document = toml::parse(text);
  } catch (const toml::parse_error& error) {
    return Wrong(file_name, error.source(), error.description());
  }
  Config config;
  KDBG_RETURN_IF_ERROR(CheckSections(file_name, document));
  KDBG_RETURN_IF_ERROR(ReadServer(Section(file_name, "server", document), config.server));
  KDBG_RETURN_IF_ERROR(ReadAccess(Section(file_name, "access", document), config.access));
  KDBG_RETURN_IF_ERROR(ReadTls(Section(file_name, "tls", document), config.tls));
  KDBG_RETURN_IF_ERROR(ReadBuild(Section(file_name, "build", document), config.build));
  KDBG_RETURN_IF_ERROR(ReadSession(Section(file_name, "session", document), config.session));
  KDBG_RETURN_IF_ERROR(ReadLibvirt(Section(file_name, "libvirt", document), config.libvirt));
  KDBG_RETURN_IF_ERROR(ReadMetrics(Section(file_name, "metrics", document), config.metrics));
  KDBG_RETURN_IF_ERROR(CheckTogether(file_name, config));
  return config;
}

absl::StatusOr<Config> LoadConfig(const std::filesystem::path& path) {
  KDBG_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, std::size_t{1} << 20));
  return ParseConfig(text, path.string());
}

}  // namespace kdbg::config
