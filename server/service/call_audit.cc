#include "server/service/call_audit.h"

#include <string>

#include "proto/contract/resource_name.h"

namespace kdbg::service {
namespace {

bool OnlyLooks(access::Verb verb) {
  return verb == access::Verb::kInform || verb == access::Verb::kList ||
         verb == access::Verb::kSee || verb == access::Verb::kRead;
}

bool LacksRights(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsUnauthenticated(status);
}

}  // namespace

std::optional<observe::AuditRecord> AuditOf(const CallReport& call) {
  if (call.part == CallReport::Part::kEnd) return std::nullopt;
  if (OnlyLooks(call.rule.verb) && !LacksRights(call.status)) return std::nullopt;
  // Turned away before anybody looked who it was: a flood must not become one of records.
  if (call.caller.from.empty()) return std::nullopt;
  return observe::AuditRecord{.action = std::string(call.rule.method),
                              .user = call.caller.principal.user,
                              .from = call.caller.from,
                              .result = absl::StatusCodeToString(call.status.code()),
                              .why = std::string(call.status.message()),
                              .resources = call.resources,
                              .request = call.request_id};
}

observe::AuditRecord AuditOf(const session::GdbVisit& visit) {
  return {.action = "gdb port",
          .user = visit.user,
          .from = visit.from,
          .result = absl::StatusCodeToString(visit.admitted.code()),
          .why = std::string(visit.admitted.message()),
          .resources = {ResourceName(kSessions, visit.session)},
          .request = ""};
}

}  // namespace kdbg::service
