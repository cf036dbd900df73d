#include "client/output/error_report.h"

#include <fmt/format.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <sstream>

#include "client/output/text.h"
#include "proto/contract/error.h"

namespace kdbg::client {
namespace {

std::string Value(const ErrorDetail& detail, const std::string& key) {
  const auto found = detail.metadata.find(key);
  return found == detail.metadata.end() ? "" : found->second;
}

// What to type next, from the reason; the message itself is the server's.
std::string Hint(const ErrorDetail& detail) {
  const auto reason = ReasonFromName(detail.reason).value_or(Reason::kUnspecified);
  switch (reason) {
    case Reason::kSandboxUnavailable:
    case Reason::kAcceleratorUnavailable:
    case Reason::kMemoryOutOfBounds:
      return "`kdbgctl info` shows what this server can do";
    case Reason::kNoDefaultBuild:
      return Value(detail, "kind") == "initramfs" ? "kdbgctl initramfs build --busybox TARBALL"
                                                  : "kdbgctl kernel build SOURCE";
    case Reason::kHolderBusy:
      return "only one at a time: end the other one first";
    case Reason::kNoFreePort:
    case Reason::kQuotaExceeded:
      return "kdbgctl session list; kdbgctl session rm SESSION frees one";
    case Reason::kQueueFull:
      return "kdbgctl build list";
    case Reason::kDiskFull:
      return "kdbgctl artifact list; kdbgctl artifact rm ARTIFACT frees space";
    default:
      return detail.retry_delay ? fmt::format("try again in {}", Elapsed(*detail.retry_delay)) : "";
  }
}

}  // namespace

int ExitCodeFor(const absl::Status& status) {
  if (HasReason(status, Reason::kHolderBusy)) return kExitBusy;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return kExitUsage;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kExitPermission;
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
      return kExitBusy;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnavailable;
    default:
      return kExitFailed;
  }
}

std::string ErrorDocument(const absl::Status& status) {
  using google::protobuf::Struct;
  Struct document;
  auto& fields = *document.mutable_fields();
  fields["code"].set_number_value(static_cast<int>(status.code()));
  fields["message"].set_string_value(std::string(status.message()));
  auto& details = *fields["details"].mutable_list_value();
  if (const auto detail = GetErrorDetail(status)) {
    auto& info = *details.add_values()->mutable_struct_value()->mutable_fields();
    info["@type"].set_string_value("type.googleapis.com/google.rpc.ErrorInfo");
    info["reason"].set_string_value(detail->reason);
    info["domain"].set_string_value("kdbg");
    auto& metadata = *info["metadata"].mutable_struct_value()->mutable_fields();
    for (const auto& [key, value] : detail->metadata) metadata[key].set_string_value(value);
    if (detail->retry_delay) {
      auto& retry = *details.add_values()->mutable_struct_value()->mutable_fields();
      retry["@type"].set_string_value("type.googleapis.com/google.rpc.RetryInfo");
      retry["retryDelay"].set_string_value(
          fmt::format("{:.3f}s", absl::ToDoubleSeconds(*detail->retry_delay)));
    }
  }
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  std::string json;
  (void)google::protobuf::util::MessageToJsonString(document, &json, options);
  return json;
}

std::string ErrorReport(const absl::Status& status) {
  std::string message(status.message());
  if (message.empty()) message = absl::StatusCodeToString(status.code());
  if (absl::IsDeadlineExceeded(status)) message = "the server did not answer in time: " + message;
  std::string report = fmt::format("kdbgctl: {}\n", message);
  if (const auto detail = GetErrorDetail(status)) {
    std::istringstream excerpt(Value(*detail, "excerpt"));
    for (std::string line; std::getline(excerpt, line);) report += fmt::format("  | {}\n", line);
    if (const std::string hint = Hint(*detail); !hint.empty()) {
      report += fmt::format("hint: {}\n", hint);
    }
  }
  return report;
}

}  // namespace kdbg::client
