// Errors as both ends know them: a canonical code, one reason that programs branch on, a sentence
// for people.
//
// The layer that knows what is wrong makes the error; upper layers pass it on. The reason travels
// as a payload of absl::Status, so nothing below the service layer sees gRPC.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace kdbg {

// Wire names are the enumerators in UPPER_SNAKE; see ReasonName. Numbers are not part of the
// contract.
enum class Reason {
  kUnspecified,
  // The request.
  kFieldInvalid,      // metadata: field, value
  kResourceNotFound,  // metadata: resource
  kWrongState,        // metadata: resource, state
  kPermissionDenied,  // metadata: user, verb, resource
  kUnauthenticated,
  kNotImplemented,    // metadata: method
  kTooManyCalls,      // metadata: limit; too many at once, of this caller or of all
  kOffsetOutOfRange,  // metadata: offset, size
  kPathNotAllowed,    // metadata: path
  // Sources.
  kNotAnArchive,
  kArchiveTruncated,
  kArchiveUnsafeMember,  // metadata: member
  kArchiveTooLarge,
  kUrlNotAllowed,      // metadata: url
  kRefNotFound,        // metadata: url, ref
  kRemoteRefused,      // metadata: url
  kRemoteUnavailable,  // metadata: url
  kDigestMismatch,     // metadata: expected, actual
  kUploadIncomplete,   // metadata: upload, received_bytes, size_bytes
  kPackInvalid,        // not a git pack, damaged, or with objects git finds broken
  kObjectsMissing,     // metadata: object, count; a tree's objects, neither sent nor known
  kTreeUnsafe,         // metadata: path, as far as it is known
  kTreeTooLarge,
  kPatchInvalid,       // metadata: patch; no diff and no mail with one
  kPatchDoesNotApply,  // metadata: patch, file, hunk
  kNotAKernelTree,
  kNotABusyboxTree,
  // Builds.
  kConfigInvalid,        // metadata: line
  kConfigSymbolUnknown,  // metadata: symbol
  kConfigSymbolLost,     // metadata: symbol, dependency
  kCompileError,
  kLinkError,
  kMissingTool,  // metadata: tool, package
  kBuildFailed,  // a failure of no better known kind
  kBuildTimedOut,
  kIdle,  // metadata: limit; nobody used what was held for them
  kOutOfMemory,
  kTooManyProcesses,
  kNoDebugInformation,
  kOutputUnsafe,  // metadata: path; a build left something other than a regular file
  kInterrupted,   // the daemon ended in the middle
  kSandboxUnavailable,
  kQueueFull,
  // Sessions.
  kAcceleratorUnavailable,
  kMemoryOutOfBounds,  // metadata: memory_mib, maximum_memory_mib
  kNoFreePort,         // metadata: first_port, last_port
  kQuotaExceeded,      // metadata: holders
  kSymbolNotFound,     // metadata: symbol
  kBootTimedOut,
  kGuestExited,
  kGuestPanicked,
  kVmLost,
  kHolderBusy,      // metadata: holder
  kNoDefaultBuild,  // metadata: kind
  // The host.
  kDiskFull,     // metadata: path
  kDataCorrupt,  // metadata: digest
  kHypervisorUnavailable,
  kHypervisorRefused,  // it would not do it; the text is its own
  kRunnerUnavailable,
  kDraining,
};

// "FIELD_INVALID" for kFieldInvalid; and back, nullopt for a name we do not know.
std::string_view ReasonName(Reason reason);
std::optional<Reason> ReasonFromName(std::string_view name);

using ErrorMetadata = std::map<std::string, std::string>;

struct ErrorDetail {
  std::string reason;  // as on the wire: may be newer than this program
  ErrorMetadata metadata;
  std::optional<absl::Duration> retry_delay;
};

// `message` says what happened and what to do next.
absl::Status MakeError(absl::StatusCode code, Reason reason, std::string_view message,
                       ErrorMetadata metadata = {},
                       std::optional<absl::Duration> retry_delay = std::nullopt);

// What MakeError attached; nullopt for a status that came without.
std::optional<ErrorDetail> GetErrorDetail(const absl::Status& status);

// Whether `status` carries this reason.
bool HasReason(const absl::Status& status, Reason reason);

// Short forms of the commonest.
absl::Status InvalidField(std::string_view field, std::string_view value, std::string_view message);
absl::Status ResourceNotFound(
    std::string_view resource);  // "builds/7": no such ..., or not yours to see

}  // namespace kdbg
