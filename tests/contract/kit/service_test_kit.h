// What tests of the service layer share: accounts that are made up, a directory that goes away,
// channels that speak as any uid.
#pragma once

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "server/access/users.h"

namespace kdbg {

inline constexpr uid_t kAlice = 51000;    // a user
inline constexpr uid_t kBob = 51001;      // another
inline constexpr uid_t kVera = 51002;     // a viewer
inline constexpr uid_t kMallory = 51003;  // has no role
inline constexpr uid_t kAdmin = 51004;

class TestAccounts final : public access::Accounts {
 public:
  std::optional<access::Account> Find(uid_t uid) const override;
  std::optional<uid_t> UidOf(const std::string& name) const override;
  static access::AccessPolicy Policy();
};

class TestDirectory {
 public:
  TestDirectory();
  ~TestDirectory();
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// As a client of the public socket does it. A channel of its own, never one shared with another
// test.
std::shared_ptr<grpc::Channel> ConnectTo(const std::filesystem::path& socket);

// What the relay would make of a caller with this uid: a connection of the right name to gRPC's own
// socket, which lies below `runtime_directory`. Any uid, without being root.
std::shared_ptr<grpc::Channel> ConnectAs(uid_t uid, const std::filesystem::path& runtime_directory);

// The same with the name that the relay would give.
std::shared_ptr<grpc::Channel> ConnectFrom(const std::string& relay_name,
                                           const std::filesystem::path& runtime_directory);

// gRPC's own socket below `runtime_directory`.
std::filesystem::path PrivateSocket(const std::filesystem::path& runtime_directory);

struct RawAnswer {
  absl::Status status;
  std::string bytes;  // of all messages, one after the other
};

// One call of any kind by its path: one message, the end of writing, all answers.
RawAnswer CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                  const std::string& message);

}  // namespace kdbg
