// UserService. The contract is in the .proto.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "kdbg/v1/user_service.grpc.pb.h"
#include "server/access/enrolled_users.h"
#include "server/access/tls_keys.h"
#include "server/access/users.h"
#include "server/base/clock.h"
#include "server/service/call_gate.h"

namespace kdbg::service {

class UserServiceImpl final : public v1::UserService::CallbackService {
 public:
  struct Parts {
    CallGate& gate;
    access::EnrolledUsers& enrolled;
    access::Users& accounts;
    const Clock& clock;
    const access::TlsKeys* keys = nullptr;  // absent without TLS
    std::string address;                    // HOST:PORT, for those who are let in
  };
  explicit UserServiceImpl(Parts parts) : parts_(std::move(parts)) {}

  using Context = grpc::CallbackServerContext;
  grpc::ServerUnaryReactor* CreateEnrollment(Context* context,
                                             const v1::CreateEnrollmentRequest* request,
                                             v1::Enrollment* response) override;
  grpc::ServerUnaryReactor* Enroll(Context* context, const v1::EnrollRequest* request,
                                   v1::CertificateResponse* response) override;
  grpc::ServerUnaryReactor* RenewCertificate(Context* context,
                                             const v1::RenewCertificateRequest* request,
                                             v1::CertificateResponse* response) override;
  grpc::ServerUnaryReactor* ListUsers(Context* context, const v1::ListUsersRequest* request,
                                      v1::ListUsersResponse* response) override;
  grpc::ServerUnaryReactor* RevokeUser(Context* context, const v1::RevokeUserRequest* request,
                                       v1::User* response) override;
  grpc::ServerUnaryReactor* DeleteUser(Context* context, const v1::DeleteUserRequest* request,
                                       google::protobuf::Empty* response) override;

 private:
  void Answer(const access::IssuedCertificate& issued, v1::CertificateResponse* response) const;

  const Parts parts_;
};

}  // namespace kdbg::service
