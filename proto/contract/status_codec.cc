#include "proto/contract/status_codec.h"

#include <map>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "kdbg/v1/common.pb.h"
#include "proto/contract/error.h"
#include "proto/contract/utf8.h"

namespace kdbg {
namespace {

constexpr std::size_t kMaxMessageBytes = 1200;
constexpr std::size_t kMaxMetadataBytes = 1500;  // all keys and values together
constexpr std::size_t kMaxValueBytes = 400;
constexpr char kRetryUrl[] = "type.googleapis.com/kdbg.v1.RetryInfo";

v1::ErrorInfo InfoOf(const absl::Status& status) {
  ErrorDetail unspecified;
  unspecified.reason = ReasonName(Reason::kUnspecified);
  const ErrorDetail detail = GetErrorDetail(status).value_or(unspecified);
  v1::ErrorInfo info;
  info.set_reason(ShortUtf8(detail.reason, kMaxValueBytes));
  info.set_domain("kdbg");
  std::size_t room = kMaxMetadataBytes;
  for (const auto& [key, value] : detail.metadata) {
    std::string text = ShortUtf8(value, kMaxValueBytes);
    if (key.size() + text.size() > room) continue;
    room -= key.size() + text.size();
    info.mutable_metadata()->insert({ValidUtf8(key), std::move(text)});
  }
  return info;
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message =
      ShortUtf8({status.message().data(), status.message().size()}, kMaxMessageBytes);
  v1::RpcStatus details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  details.add_details()->PackFrom(InfoOf(status));
  if (const auto retry = status.GetPayload(kRetryUrl); retry) {
    google::protobuf::Any* any = details.add_details();
    any->set_type_url(kRetryUrl);
    any->set_value(std::string(*retry));
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message,
                      details.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  v1::RpcStatus details;
  if (!details.ParseFromString(status.error_details())) return result;
  for (const google::protobuf::Any& any : details.details()) {
    result.SetPayload(any.type_url(), absl::Cord(any.value()));
  }
  return result;
}

}  // namespace kdbg
