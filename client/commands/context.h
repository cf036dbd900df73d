// What every command works with: the output, the interrupts and the server, connected when first
// asked for.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "client/channel/follow.h"
#include "client/channel/server.h"
#include "client/output/error_report.h"
#include "client/output/output.h"
#include "client/terminal/interrupt.h"
#include "proto/support/status_macros.h"

namespace kdbg::client {

// A command's exit code; or why it failed, which decides the exit code.
using CommandEnd = absl::StatusOr<int>;

class Context {
 public:
  Context(Output output, std::string server_flag, Interrupt& interrupt)
      : output_(output), server_flag_(std::move(server_flag)), interrupt_(interrupt) {}

  const Output& output() const { return output_; }
  Interrupt& interrupt() { return interrupt_; }
  absl::StatusOr<ClientConfig> Config() const;
  absl::StatusOr<ServerAddress> Address() const;
  // Connects at the first call.
  absl::StatusOr<Server*> server();
  // Lets go of the connection, before exec.
  void Disconnect() { server_.reset(); }

  template <typename Service, typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                                const Request& request, absl::Duration deadline = kUnaryDeadline) {
    KDBG_ASSIGN_OR_RETURN(Server * server, this->server());
    return server->Call<Service>(method, request, deadline);
  }

  // All pages of a list as one answer.
  template <typename Service, typename Request, typename Response>
  absl::StatusOr<Response> ListAll(grpc::Status (Service::Stub::*method)(grpc::ClientContext*,
                                                                         const Request&, Response*),
                                   Request request) {
    request.set_page_size(500);
    Response all;
    do {
      KDBG_ASSIGN_OR_RETURN(Response page, Call<Service>(method, request));
      request.set_page_token(page.next_page_token());
      all.MergeFrom(page);
    } while (!request.page_token().empty());
    all.clear_next_page_token();
    return all;
  }

 private:
  Output output_;
  std::string server_flag_;
  Interrupt& interrupt_;
  std::unique_ptr<Server> server_;
};

// A random UUID, for request_id.
std::string NewRequestId();

}  // namespace kdbg::client
