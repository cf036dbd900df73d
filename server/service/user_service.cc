#include "server/service/user_service.h"

#include <optional>

#include "proto/contract/enrollment_code.h"
#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"
#include "server/service/convert_common.h"
#include "server/service/unary.h"

namespace kdbg::service {
namespace {

constexpr absl::Duration kDefaultTtl = absl::Hours(1);

v1::User ToMessage(const access::EnrolledUser& user, absl::Time now) {
  v1::User message;
  message.set_name(ResourceName(kUsers, user.name));
  message.set_role(std::string(access::RoleName(user.role)));
  message.set_state(user.revoke_time                                        ? v1::User::REVOKED
                    : user.good_certificates > 0                            ? v1::User::ACTIVE
                    : user.code_expire_time && *user.code_expire_time > now ? v1::User::INVITED
                                                                            : v1::User::EXPIRED);
  message.set_certificate_count(user.good_certificates);
  Set(user.create_time, message.mutable_create_time());
  if (user.revoke_time) Set(*user.revoke_time, message.mutable_revoke_time());
  if (user.certificate_expire_time) {
    Set(*user.certificate_expire_time, message.mutable_certificate_expire_time());
  }
  if (user.code_expire_time) Set(*user.code_expire_time, message.mutable_code_expire_time());
  return message;
}

absl::StatusOr<std::optional<access::Role>> RoleOf(const std::string& name) {
  if (name.empty()) return std::nullopt;
  const std::optional<access::Role> role = access::RoleFromName(name);
  if (role && *role != access::Role::kNone) return role;
  return InvalidField("role", name, "a role is viewer, user or admin");
}

}  // namespace

grpc::ServerUnaryReactor* UserServiceImpl::CreateEnrollment(
    Context* context, const v1::CreateEnrollmentRequest* request, v1::Enrollment* response) {
  return RunUnary(
      parts_.gate, context, Rpc("UserService/CreateEnrollment"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_RETURN_IF_ERROR(call.CheckCollection());
        KDBG_ASSIGN_OR_RETURN(const std::optional<access::Role> role, RoleOf(request->role()));
        KDBG_ASSIGN_OR_RETURN(const std::string user,
                              ParseResourceName(kUsers, request->user(), "user"));
        call.Concerns(request->user());
        absl::Duration ttl = kDefaultTtl;
        if (request->has_ttl()) {
          KDBG_ASSIGN_OR_RETURN(ttl, PositiveDuration(request->ttl(), "ttl"));
        }
        KDBG_ASSIGN_OR_RETURN(const access::OneTimeCode code,
                              parts_.enrolled.Invite(user, role, ttl));
        if (code.role_changed) parts_.gate.EndStreamsOf(user);
        response->set_user(user);
        response->set_code(ToString(EnrollmentCode{
            .secret = code.secret, .fingerprint = parts_.keys->Current()->fingerprint}));
        response->set_address(parts_.address);
        response->set_is_account(parts_.accounts.CouldBe(user));
        Set(code.expire_time, response->mutable_expire_time());
        return absl::OkStatus();
      });
}

void UserServiceImpl::Answer(const access::IssuedCertificate& issued,
                             v1::CertificateResponse* response) const {
  const auto material = parts_.keys->Current();
  response->set_certificate(issued.pem);
  response->set_authority(material->anchor_pem);
  response->set_server_name(material->server_name);
}

grpc::ServerUnaryReactor* UserServiceImpl::Enroll(Context* context,
                                                  const v1::EnrollRequest* request,
                                                  v1::CertificateResponse* response) {
  return RunUnary(
      parts_.gate, context, Rpc("UserService/Enroll"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_RETURN_IF_ERROR(call.CheckCollection());
        KDBG_ASSIGN_OR_RETURN(const EnrollmentCode code, ParseEnrollmentCode(request->code()));
        KDBG_ASSIGN_OR_RETURN(const access::IssuedCertificate issued,
                              parts_.enrolled.Enroll(code.secret, request->certificate_request(),
                                                     call.caller().address));
        call.Concerns(ResourceName(kUsers, issued.user));
        Answer(issued, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* UserServiceImpl::RenewCertificate(
    Context* context, const v1::RenewCertificateRequest* request,
    v1::CertificateResponse* response) {
  return RunUnary(parts_.gate, context, Rpc("UserService/RenewCertificate"),
                  [this, request, response](Call& call) -> absl::Status {
                    KDBG_RETURN_IF_ERROR(call.CheckCollection());
                    KDBG_ASSIGN_OR_RETURN(
                        const access::IssuedCertificate issued,
                        parts_.enrolled.Renew(call.principal(), request->certificate_request()));
                    Answer(issued, response);
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* UserServiceImpl::ListUsers(Context* context, const v1::ListUsersRequest*,
                                                     v1::ListUsersResponse* response) {
  return RunUnary(parts_.gate, context, Rpc("UserService/ListUsers"),
                  [this, response](Call& call) -> absl::Status {
                    KDBG_RETURN_IF_ERROR(call.CheckCollection());
                    const absl::Time now = parts_.clock.Now();
                    for (const access::EnrolledUser& user : parts_.enrolled.List()) {
                      *response->add_users() = ToMessage(user, now);
                    }
                    return absl::OkStatus();
                  });
}

grpc::ServerUnaryReactor* UserServiceImpl::RevokeUser(Context* context,
                                                      const v1::RevokeUserRequest* request,
                                                      v1::User* response) {
  return RunUnary(
      parts_.gate, context, Rpc("UserService/RevokeUser"),
      [this, request, response](Call& call) -> absl::Status {
        KDBG_RETURN_IF_ERROR(call.CheckCollection());
        KDBG_ASSIGN_OR_RETURN(const std::string user, ParseResourceName(kUsers, request->name()));
        call.Concerns(request->name());
        KDBG_ASSIGN_OR_RETURN(const access::EnrolledUser revoked, parts_.enrolled.Revoke(user));
        parts_.gate.EndStreamsOf(user);
        *response = ToMessage(revoked, parts_.clock.Now());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* UserServiceImpl::DeleteUser(Context* context,
                                                      const v1::DeleteUserRequest* request,
                                                      google::protobuf::Empty*) {
  return RunUnary(parts_.gate, context, Rpc("UserService/DeleteUser"),
                  [this, request](Call& call) -> absl::Status {
                    KDBG_RETURN_IF_ERROR(call.CheckCollection());
                    KDBG_ASSIGN_OR_RETURN(const std::string user,
                                          ParseResourceName(kUsers, request->name()));
                    call.Concerns(request->name());
                    KDBG_RETURN_IF_ERROR(parts_.enrolled.Remove(user));
                    parts_.gate.EndStreamsOf(user);
                    return absl::OkStatus();
                  });
}

}  // namespace kdbg::service
