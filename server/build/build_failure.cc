#include "server/build/build_failure.h"

#include <cstdlib>
#include <string>

#include "proto/contract/error.h"

namespace kdbg::build {
namespace {

absl::StatusCode CodeOf(Fault fault) {
  switch (fault) {
    case Fault::kSubject:
      return absl::StatusCode::kFailedPrecondition;
    case Fault::kCaller:
      return absl::StatusCode::kInvalidArgument;
    case Fault::kHost:
      break;
  }
  return absl::StatusCode::kUnavailable;
}

Fault FaultOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return Fault::kCaller;
    case absl::StatusCode::kFailedPrecondition:
      return Fault::kSubject;
    default:
      return Fault::kHost;
  }
}

}  // namespace

absl::Status FailureStatus(const BuildFailure& failure) {
  return MakeError(CodeOf(failure.fault), failure.reason, failure.message,
                   {{"file", failure.file},
                    {"line", std::to_string(failure.line)},
                    {"excerpt", failure.excerpt}});
}

BuildFailure FailureOf(const absl::Status& status) {
  BuildFailure failure;
  failure.fault = FaultOf(status.code());
  failure.reason = Reason::kBuildFailed;
  failure.message = std::string(status.message());
  const auto detail = GetErrorDetail(status);
  if (!detail) return failure;
  failure.reason = ReasonFromName(detail->reason).value_or(Reason::kBuildFailed);
  if (failure.reason == Reason::kSandboxUnavailable) failure.fault = Fault::kHost;
  const auto find = [&](const char* key) {
    const auto found = detail->metadata.find(key);
    return found == detail->metadata.end() ? std::string() : found->second;
  };
  failure.excerpt = find("excerpt");
  failure.file = find("file");
  failure.line = static_cast<int>(std::strtol(find("line").c_str(), nullptr, 10));
  return failure;
}

bool MayPass(const BuildFailure& failure) {
  return failure.fault == Fault::kHost && failure.reason != Reason::kBuildTimedOut &&
         failure.reason != Reason::kOutOfMemory;
}

}  // namespace kdbg::build
