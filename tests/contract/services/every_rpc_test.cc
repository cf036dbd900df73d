// What holds for every RPC of the contract, found in its descriptors and called as raw bytes.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "google/protobuf/dynamic_message.h"
#include "proto/contract/error.h"
#include "proto/contract/status_codec.h"
#include "tests/contract/kit/test_daemon.h"

namespace kdbg {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

std::vector<const MethodDescriptor*> EveryMethod() {
  std::vector<const MethodDescriptor*> methods;
  for (const Descriptor* message :
       {v1::Source::descriptor(), v1::Build::descriptor(), v1::Artifact::descriptor(),
        v1::Session::descriptor(), v1::ServerInfo::descriptor(), v1::User::descriptor()}) {
    const auto* file = message->file();
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        methods.push_back(file->service(i)->method(j));
      }
    }
  }
  return methods;
}

absl::Status Invoke(Client& client, const MethodDescriptor& method, const std::string& message) {
  return CallRaw(client.channel, "/" + method.service()->full_name() + "/" + method.name(), message)
      .status;
}

// A request whose `name` (its own or its first part's) is `name`.
std::string RequestNaming(const MethodDescriptor& method, const std::string& name) {
  google::protobuf::DynamicMessageFactory factory;
  const std::unique_ptr<Message> message(factory.GetPrototype(method.input_type())->New());
  const auto set = [&](Message* in) {
    const FieldDescriptor* field = in->GetDescriptor()->FindFieldByName("name");
    if (field != nullptr) in->GetReflection()->SetString(in, field, name);
  };
  set(message.get());
  const FieldDescriptor* start = message->GetDescriptor()->FindFieldByName("start");
  if (start != nullptr) set(message->GetReflection()->MutableMessage(message.get(), start));
  return message->SerializeAsString();
}

TEST(EveryRpcTest, RefusesACallerWithoutARole) {
  TestDaemon daemon;
  Client mallory = daemon.As(kMallory);
  for (const MethodDescriptor* method : EveryMethod()) {
    SCOPED_TRACE(method->full_name());
    const absl::Status status = Invoke(mallory, *method, "");
    if (method->name() == "Enroll") {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);  // no code
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
      EXPECT_TRUE(HasReason(status, Reason::kPermissionDenied));
    }
  }
}

TEST(EveryRpcTest, RefusesACallerWithoutAnIdentity) {
  TestDaemon daemon;
  Client nobody(ConnectTo(PrivateSocket(daemon.directory())));
  for (const MethodDescriptor* method : EveryMethod()) {
    SCOPED_TRACE(method->full_name());
    const absl::Status status = Invoke(nobody, *method, "");
    EXPECT_EQ(status.code(), method->name() == "Enroll" ? absl::StatusCode::kInvalidArgument
                                                        : absl::StatusCode::kUnauthenticated);
  }
}

TEST(EveryRpcTest, FailsWithExactlyOneErrorInfoAndNeverWithABug) {
  TestDaemon daemon;
  Client alice = daemon.As(kAlice);
  for (const MethodDescriptor* method : EveryMethod()) {
    for (const std::string& name : {std::string(), std::string("x/../y"), std::string("no-such")}) {
      SCOPED_TRACE(method->full_name() + " " + name);
      const absl::Status status = Invoke(alice, *method, RequestNaming(*method, name));
      if (status.ok()) continue;
      const auto detail = GetErrorDetail(status);
      ASSERT_TRUE(detail) << status;
      EXPECT_NE(detail->reason, "REASON_UNSPECIFIED") << status;
      EXPECT_NE(status.code(), absl::StatusCode::kInternal) << status;
      EXPECT_NE(status.code(), absl::StatusCode::kUnknown) << status;
    }
  }
}

// Others' private things look exactly like things that are not there.
TEST(EveryRpcTest, HidesWhatIsNotTheCallersToSee) {
  TestDaemon daemon;
  const SeededBuild seeded = daemon.SeedKernel("alice", /*is_private=*/true);
  Client alice = daemon.As(kAlice);
  Client bob = daemon.As(kBob);
  v1::CreateUploadRequest upload_request;
  upload_request.set_sha256(std::string(64, 'a'));
  upload_request.set_size_bytes(10);
  v1::Upload upload;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(alice.sources->CreateUpload(&context, upload_request, &upload).ok());
  }
  const std::map<std::string, std::string> names = {
      {"BuildService", "builds/" + seeded.build_id},
      {"ArtifactService", "artifacts/" + seeded.artifact_id}};
  for (const MethodDescriptor* method : EveryMethod()) {
    std::string name;
    if (const auto found = names.find(method->service()->name()); found != names.end()) {
      name = found->second;
    } else if (method->name().ends_with("Upload") && method->name() != "CreateUpload") {
      name = upload.name();
    }
    const bool names_one = method->input_type()->FindFieldByName("name") != nullptr;
    if (name.empty() || !names_one) continue;
    SCOPED_TRACE(method->full_name());
    const absl::Status hidden = Invoke(bob, *method, RequestNaming(*method, name));
    const std::string absent_name = name.substr(0, name.find('/') + 1) + "no-such";
    const absl::Status absent = Invoke(bob, *method, RequestNaming(*method, absent_name));
    EXPECT_EQ(hidden.code(), absent.code());
    if (method->name().starts_with("Delete")) {
      EXPECT_TRUE(hidden.ok()) << hidden;  // nothing of bob's is there
    } else {
      EXPECT_EQ(hidden.code(), absl::StatusCode::kNotFound) << hidden;
    }
  }
  grpc::ClientContext context;
  v1::GetBuildRequest request;
  request.set_name(seeded.build_id);
  v1::Build build;
  EXPECT_TRUE(alice.builds->GetBuild(&context, request, &build).ok()) << "bob deleted it";
}

TEST(EveryRpcTest, AViewerChangesNothing) {
  TestDaemon daemon;
  const SeededBuild seeded = daemon.SeedKernel("alice");
  Client vera = daemon.As(kVera);
  const std::set<std::string> may = {
      "GetSource",     "ListSources",      "WatchSource",   "ReadSourceFiles", "GetUpload",
      "GetBuild",      "ListBuilds",       "WatchBuild",    "ReadBuildLog",    "GetArtifact",
      "ListArtifacts", "ReadArtifactFile", "GetSession",    "ListSessions",    "WatchSession",
      "ReadConsole",   "GetServerInfo",    "WatchActivity", "Enroll",          "RenewCertificate"};
  for (const MethodDescriptor* method : EveryMethod()) {
    SCOPED_TRACE(method->full_name());
    const std::string name =
        method->service()->name() == "ArtifactService" ? seeded.artifact_id : seeded.build_id;
    const absl::Status status = Invoke(vera, *method, RequestNaming(*method, name));
    EXPECT_EQ(status.code() == absl::StatusCode::kPermissionDenied, !may.contains(method->name()))
        << status;
  }
}

constexpr char kHealthCheck[] = "/grpc.health.v1.Health/Check";
constexpr char kServing[] = "\x08\x01";  // HealthCheckResponse{status: SERVING}

TEST(HealthTest, EveryServiceAndTheWholeAreServing) {
  TestDaemon daemon;
  Client nobody(ConnectTo(daemon.socket()));
  std::set<std::string> services = {""};
  for (const MethodDescriptor* method : EveryMethod())
    services.insert(method->service()->full_name());
  for (const std::string& service : services) {
    SCOPED_TRACE(service);
    const std::string request =
        service.empty() ? "" : "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
    const RawAnswer answer = CallRaw(nobody.channel, kHealthCheck, request);
    EXPECT_TRUE(answer.status.ok()) << answer.status;
    EXPECT_EQ(answer.bytes, kServing);
  }
}

TEST(HealthTest, ReflectionListsTheServices) {
  TestDaemon daemon;
  Client client(ConnectTo(daemon.socket()));
  // ServerReflectionRequest{list_services: "*"}
  const RawAnswer answer =
      CallRaw(client.channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
              "\x3a\x01*");
  EXPECT_TRUE(answer.status.ok()) << answer.status;
  for (const MethodDescriptor* method : EveryMethod()) {
    EXPECT_NE(answer.bytes.find(method->service()->full_name()), std::string::npos);
  }
}

}  // namespace
}  // namespace kdbg
