#include "server/app/user_commands.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>

#include "absl/strings/ascii.h"
#include "google/protobuf/util/time_util.h"
#include "kdbg/v1/user_service.grpc.pb.h"
#include "proto/contract/resource_name.h"
#include "proto/contract/status_codec.h"
#include "proto/support/status_macros.h"

namespace kdbg::app {
namespace {

constexpr std::chrono::seconds kDeadline(10);

template <typename Request, typename Response>
absl::StatusOr<Response> Ask(const std::filesystem::path& socket,
                             grpc::Status (v1::UserService::Stub::*method)(grpc::ClientContext*,
                                                                           const Request&,
                                                                           Response*),
                             const Request& request) {
  v1::UserService::Stub stub(
      grpc::CreateChannel("unix:" + socket.native(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (status.ok()) return response;
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && status.error_details().empty()) {
    return absl::UnavailableError(
        fmt::format("no kdbgd answers on unix:{}: start it first (systemctl start kdbgd), or name "
                    "the configuration that it runs with (--config FILE)",
                    socket.string()));
  }
  return FromGrpcStatus(status);
}

std::string Local(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M", absl::FromUnixSeconds(time.seconds()),
                          absl::LocalTimeZone());
}

std::string ShortName(const v1::User& user) {
  return user.name().substr(user.name().find('/') + 1);
}

std::string StateName(const v1::User& user) {
  std::string name = v1::User::State_Name(user.state());
  for (char& c : name) c = absl::ascii_tolower(static_cast<unsigned char>(c));
  return name;
}

}  // namespace

absl::Status UserCommands::Add(const std::string& name, const std::string& role,
                               std::optional<absl::Duration> ttl) const {
  v1::CreateEnrollmentRequest request;
  request.set_user(name);
  request.set_role(role);
  if (ttl) {
    *request.mutable_ttl() =
        google::protobuf::util::TimeUtil::NanosecondsToDuration(absl::ToInt64Nanoseconds(*ttl));
  }
  KDBG_ASSIGN_OR_RETURN(const v1::Enrollment made,
                        Ask(socket_, &v1::UserService::Stub::CreateEnrollment, request));
  fmt::print("{} may enrol one machine until {}. There, run:\n\n  kdbgctl login {} --code {}\n",
             made.user(), Local(made.expire_time()), made.address(), made.code());
  if (made.is_account()) {
    fmt::print("\n{} is also an account of this host: both are one owner to kdbgd.\n", made.user());
  }
  return absl::OkStatus();
}

absl::Status UserCommands::List() const {
  KDBG_ASSIGN_OR_RETURN(const v1::ListUsersResponse list,
                        Ask(socket_, &v1::UserService::Stub::ListUsers, v1::ListUsersRequest()));
  fmt::print("{:<24} {:<7} {:<8} {:>8}  {:<16}\n", "NAME", "ROLE", "STATE", "MACHINES",
             "GOOD UNTIL");
  for (const v1::User& user : list.users()) {
    fmt::print("{:<24} {:<7} {:<8} {:>8}  {:<16}\n", ShortName(user), user.role(), StateName(user),
               user.certificate_count(),
               Local(user.state() == v1::User::INVITED ? user.code_expire_time()
                                                       : user.certificate_expire_time()));
  }
  return absl::OkStatus();
}

absl::Status UserCommands::Revoke(const std::string& name) const {
  v1::RevokeUserRequest request;
  request.set_name(name);
  KDBG_RETURN_IF_ERROR(Ask(socket_, &v1::UserService::Stub::RevokeUser, request).status());
  fmt::print("{} is refused from now on; what is theirs stays.\n", name);
  return absl::OkStatus();
}

absl::Status UserCommands::Remove(const std::string& name) const {
  v1::DeleteUserRequest request;
  request.set_name(name);
  KDBG_RETURN_IF_ERROR(Ask(socket_, &v1::UserService::Stub::DeleteUser, request).status());
  fmt::print("{} is forgotten; what is theirs stays.\n", name);
  return absl::OkStatus();
}

}  // namespace kdbg::app
