// deploy/kdbgd.toml.example claims to show every key with its default.
#include <gtest/gtest.h>

#include <string>

#include "proto/support/file.h"
#include "server/config/config.h"

namespace kdbg::config {
namespace {

TEST(ExampleConfigTest, ShowsTheDefaults) {
  const auto example = LoadConfig(KDBG_EXAMPLE_CONFIG);
  ASSERT_TRUE(example.ok()) << example.status();
  const Config defaults;
  EXPECT_EQ(example->server.log_level, defaults.server.log_level);
  EXPECT_EQ(example->server.runner_socket, defaults.server.runner_socket);
  EXPECT_EQ(example->server.first_owner_uid, defaults.server.first_owner_uid);
  EXPECT_EQ(example->server.owner_uid_count, defaults.server.owner_uid_count);
  EXPECT_EQ(example->server.maximum_upload_mib, defaults.server.maximum_upload_mib);
  EXPECT_EQ(example->session.disk_images, defaults.session.disk_images);
  EXPECT_EQ(example->server.upload_mib_per_second, defaults.server.upload_mib_per_second);
  EXPECT_EQ(example->server.calls_per_second, defaults.server.calls_per_second);
  EXPECT_EQ(example->access.admins, defaults.access.admins);
  EXPECT_EQ(example->access.viewers, defaults.access.viewers);
  EXPECT_EQ(example->access.others_are_users, defaults.access.others_are_users);
  EXPECT_EQ(example->build.jobs, defaults.build.jobs);
  EXPECT_EQ(example->build.parallel, defaults.build.parallel);
  EXPECT_EQ(example->build.queue_limit, defaults.build.queue_limit);
  EXPECT_EQ(example->build.memory_limit_mib, defaults.build.memory_limit_mib);
  EXPECT_EQ(example->build.process_limit, defaults.build.process_limit);
  EXPECT_EQ(example->build.time_limit, defaults.build.time_limit);
  EXPECT_EQ(example->build.ccache_limit_mib, defaults.build.ccache_limit_mib);
  EXPECT_EQ(example->build.allowed_source_paths, defaults.build.allowed_source_paths);
  EXPECT_EQ(example->build.allowed_urls, defaults.build.allowed_urls);
  EXPECT_EQ(example->build.ca_file, defaults.build.ca_file);
  EXPECT_EQ(example->build.ssh_config, defaults.build.ssh_config);
  EXPECT_EQ(example->build.workspace_limit_mib, defaults.build.workspace_limit_mib);
  EXPECT_EQ(example->build.record_age, defaults.build.record_age);
  EXPECT_EQ(example->build.trusted_remotes, defaults.build.trusted_remotes);
  EXPECT_EQ(example->build.trusted_remote_period, defaults.build.trusted_remote_period);
  EXPECT_EQ(example->build.mirror_age, defaults.build.mirror_age);
  EXPECT_EQ(example->build.artifact_age, defaults.build.artifact_age);
  EXPECT_EQ(example->build.artifact_limit_mib, defaults.build.artifact_limit_mib);
  EXPECT_EQ(example->build.workspace_age, defaults.build.workspace_age);
  EXPECT_EQ(example->session.gdb_host, defaults.session.gdb_host);
  EXPECT_TRUE(example->session.gdb_peers.empty());
  EXPECT_EQ(example->session.first_port, defaults.session.first_port);
  EXPECT_EQ(example->session.last_port, defaults.session.last_port);
  EXPECT_EQ(example->session.accelerator, defaults.session.accelerator);
  EXPECT_EQ(example->session.default_ttl, defaults.session.default_ttl);
  EXPECT_EQ(example->session.maximum_ttl, defaults.session.maximum_ttl);
  EXPECT_EQ(example->session.boot_timeout, defaults.session.boot_timeout);
  EXPECT_EQ(example->session.maximum_memory_mib, defaults.session.maximum_memory_mib);
  EXPECT_EQ(example->session.maximum_vcpus, defaults.session.maximum_vcpus);
  EXPECT_EQ(example->session.maximum_sessions, defaults.session.maximum_sessions);
  EXPECT_EQ(example->session.total_vcpus, defaults.session.total_vcpus);
  EXPECT_EQ(example->session.total_memory_mib, defaults.session.total_memory_mib);
  EXPECT_EQ(example->session.user_sessions, defaults.session.user_sessions);
  EXPECT_EQ(example->session.user_vcpus, defaults.session.user_vcpus);
  EXPECT_EQ(example->session.user_memory_mib, defaults.session.user_memory_mib);
  EXPECT_EQ(example->session.template_memory_mib, defaults.session.template_memory_mib);
  EXPECT_EQ(example->session.warm_memory_mib, defaults.session.warm_memory_mib);
  EXPECT_EQ(example->libvirt.uri, defaults.libvirt.uri);
  EXPECT_EQ(example->libvirt.apparmor_profile, defaults.libvirt.apparmor_profile);
  EXPECT_EQ(example->metrics.listen, defaults.metrics.listen);
}

// What stands there as a comment is read too, once it is none.
TEST(ExampleConfigTest, ShowsTheDefaultsOfTlsBehindCommentSigns) {
  std::string text = *ReadFile(KDBG_EXAMPLE_CONFIG);
  const std::size_t begin = text.find("#[tls]");
  ASSERT_NE(begin, text.npos);
  for (std::size_t at = begin; at != text.npos && text[at] == '#'; at = text.find('\n', at) + 1) {
    text.erase(at, 1);
  }
  const auto example = ParseConfig(text, "example");
  ASSERT_TRUE(example.ok()) << example.status();
  ASSERT_TRUE(example->tls);
  const Tls defaults;
  EXPECT_EQ(example->tls->certificate, defaults.certificate);
  EXPECT_EQ(example->tls->key, defaults.key);
  EXPECT_EQ(example->tls->client_ca, defaults.client_ca);
  EXPECT_EQ(example->tls->client_crl, defaults.client_crl);
  EXPECT_EQ(example->tls->certificate_lifetime, defaults.certificate_lifetime);
}

}  // namespace
}  // namespace kdbg::config
