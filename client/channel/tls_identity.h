// What this machine is to a server reached by TLS: its key and certificate, and by whom it knows
// the server. One file for each server, for the user alone:
// $XDG_CONFIG_HOME/kdbg/tls/HOST:PORT.pem
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/channel/server_address.h"

namespace kdbg::client {

struct TlsIdentity {
  std::string key_pem;
  std::string certificate_pem;
  std::string authority_pem;  // who vouches for the server
  std::string server_name;    // for whom; empty: for the host in the address
  absl::Time begin_time;
  absl::Time expire_time;
};

absl::StatusOr<std::filesystem::path> IdentityFile(const TlsAddress& address);
// UNAUTHENTICATED when this machine was never enrolled there, with the way to it.
absl::StatusOr<TlsIdentity> LoadIdentity(const TlsAddress& address);
absl::Status SaveIdentity(const TlsAddress& address, const TlsIdentity& identity);
// `certificate` and the rest as the server answers them; the times are the certificate's.
absl::StatusOr<TlsIdentity> MakeIdentity(std::string_view key_pem, std::string_view certificate_pem,
                                         std::string_view authority_pem, std::string server_name);

// Worn out by two thirds.
bool IsRenewalDue(const TlsIdentity& identity, absl::Time now);

std::shared_ptr<grpc::Channel> OpenTlsChannel(const TlsAddress& address,
                                              const TlsIdentity& identity,
                                              grpc::ChannelArguments arguments);

// Why a connection cannot be had, in words a user can act on; UNAVAILABLE (worth another try) when
// it can.
absl::Status ExplainTls(const TlsAddress& address, const TlsIdentity& identity);

// The certificates that the server shows, in PEM form, whoever vouches for them.
absl::StatusOr<std::vector<std::string>> FetchCertificates(const TlsAddress& address);

}  // namespace kdbg::client
