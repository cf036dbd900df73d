#include "tests/contract/kit/service_test_kit.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/generic/generic_stub.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <vector>

#include "proto/contract/status_codec.h"
#include "server/service/peer_identity.h"

namespace kdbg {

namespace {

const std::map<uid_t, std::string>& Names() {
  static const std::map<uid_t, std::string> names = {
      {kAlice, "alice"}, {kBob, "bob"}, {kVera, "vera"}, {kMallory, "mallory"}, {kAdmin, "adam"}};
  return names;
}

}  // namespace

std::optional<access::Account> TestAccounts::Find(uid_t uid) const {
  const auto found = Names().find(uid);
  if (found == Names().end()) return std::nullopt;
  return access::Account{found->second, {}};
}

std::optional<uid_t> TestAccounts::UidOf(const std::string& name) const {
  for (const auto& [uid, user] : Names()) {
    if (user == name) return uid;
  }
  return std::nullopt;
}

access::AccessPolicy TestAccounts::Policy() {
  access::AccessPolicy policy;
  policy.users = {{"vera", access::Role::kViewer},
                  {"mallory", access::Role::kNone},
                  {"adam", access::Role::kAdmin}};
  return policy;
}

TestDirectory::TestDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "kdbg-test-XXXXXX").native();
  if (::mkdtemp(name.data()) == nullptr) std::abort();
  path_ = name;
}

TestDirectory::~TestDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::shared_ptr<grpc::Channel> ConnectTo(const std::filesystem::path& socket) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel("unix:" + socket.native(), grpc::InsecureChannelCredentials(),
                                   arguments);
}

std::filesystem::path PrivateSocket(const std::filesystem::path& runtime_directory) {
  for (const auto& entry : std::filesystem::directory_iterator(runtime_directory)) {
    if (entry.path().filename().native().starts_with("grpc-")) return entry.path() / "socket";
  }
  return {};
}

std::shared_ptr<grpc::Channel> ConnectAs(uid_t uid,
                                         const std::filesystem::path& runtime_directory) {
  static std::atomic<std::uint64_t> next = static_cast<std::uint64_t>(::getpid()) << 32;
  return ConnectFrom(service::RelayName(uid, next++), runtime_directory);
}

std::shared_ptr<grpc::Channel> ConnectFrom(const std::string& name,
                                           const std::filesystem::path& runtime_directory) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un own = {};
  own.sun_family = AF_UNIX;
  std::memcpy(own.sun_path, name.data(), name.size());
  const auto own_size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  sockaddr_un server = {};
  server.sun_family = AF_UNIX;
  const std::string path = PrivateSocket(runtime_directory).native();
  std::snprintf(server.sun_path, sizeof(server.sun_path), "%s", path.c_str());
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&own), own_size) != 0 ||
      ::connect(fd, reinterpret_cast<const sockaddr*>(&server), sizeof(server)) != 0) {
    std::perror("ConnectFrom");
    std::abort();
  }
  return grpc::CreateInsecureChannelFromFd("kdbg-test", fd);
}

RawAnswer CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                  const std::string& message) {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  const auto stream = stub.PrepareCall(&context, path, &queue);
  void* tag = nullptr;
  bool ok = false;
  const auto done = [&] { return queue.Next(&tag, &ok) && ok; };
  stream->StartCall(nullptr);
  done();
  const grpc::Slice slice(message);
  stream->WriteLast(grpc::ByteBuffer(&slice, 1), {}, nullptr);
  done();
  RawAnswer result;
  while (true) {
    grpc::ByteBuffer answer;
    stream->Read(&answer, nullptr);
    if (!done()) break;
    std::vector<grpc::Slice> slices;
    if (!answer.Dump(&slices).ok()) continue;
    for (const grpc::Slice& part : slices) {
      result.bytes.append(reinterpret_cast<const char*>(part.begin()), part.size());
    }
  }
  grpc::Status status;
  stream->Finish(&status, nullptr);
  done();
  result.status = FromGrpcStatus(status);
  return result;
}

}  // namespace kdbg
