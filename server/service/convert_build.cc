#include "server/service/convert_build.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/contract/utf8.h"
#include "proto/support/status_macros.h"
#include "server/service/convert_common.h"

namespace kdbg::service {
namespace {

constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxInitBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxItems = 4096;
constexpr std::size_t kMaxItemBytes = 4096;
constexpr std::size_t kMaxNameBytes = 63;

v1::Build::State StateOf(build::BuildState state) {
  switch (state) {
    case build::BuildState::kQueued:
      return v1::Build::QUEUED;
    case build::BuildState::kRunning:
      return v1::Build::RUNNING;
    case build::BuildState::kSucceeded:
      return v1::Build::SUCCEEDED;
    case build::BuildState::kFailed:
      return v1::Build::FAILED;
    case build::BuildState::kCancelled:
      return v1::Build::CANCELLED;
  }
  return v1::Build::STATE_UNSPECIFIED;
}

v1::BuildProgress::Phase PhaseOf(build::BuildPhase phase) {
  switch (phase) {
    case build::BuildPhase::kWaiting:
      return v1::BuildProgress::WAITING;
    case build::BuildPhase::kCheckingOut:
      return v1::BuildProgress::CHECKING_OUT;
    case build::BuildPhase::kConfiguring:
      return v1::BuildProgress::CONFIGURING;
    case build::BuildPhase::kCompiling:
      return v1::BuildProgress::COMPILING;
    case build::BuildPhase::kVerifying:
      return v1::BuildProgress::VERIFYING;
    case build::BuildPhase::kPacking:
      return v1::BuildProgress::PACKING;
    case build::BuildPhase::kPublishing:
      return v1::BuildProgress::PUBLISHING;
  }
  return v1::BuildProgress::PHASE_UNSPECIFIED;
}

v1::Failure::Fault FaultOf(build::Fault fault) {
  switch (fault) {
    case build::Fault::kSubject:
      return v1::Failure::FAULT_SUBJECT;
    case build::Fault::kCaller:
      return v1::Failure::FAULT_CALLER;
    case build::Fault::kHost:
      return v1::Failure::FAULT_HOST;
  }
  return v1::Failure::FAULT_UNSPECIFIED;
}

v1::KernelSpec SpecOf(const build::KernelRequest& kernel) {
  v1::KernelSpec message;
  message.set_architecture(ToMessage(kernel.architecture));
  message.set_base_config(kernel.base_config);
  for (const auto& fragment : kernel.fragments) {
    message.add_fragments()->set_name(ValidUtf8(fragment.name));
  }
  for (const auto& item : kernel.config_items) message.add_config_items(ValidUtf8(item));
  for (const auto& [name, value] : kernel.make_variables) {
    (*message.mutable_make_variables())[ValidUtf8(name)] = ValidUtf8(value);
  }
  message.set_clean(kernel.clean);
  message.set_skip_cache(kernel.skip_cache);
  return message;
}

v1::InitramfsSpec::Compression CompressionOf(build::CpioCompression compression) {
  switch (compression) {
    case build::CpioCompression::kNone:
      return v1::InitramfsSpec::NONE;
    case build::CpioCompression::kGzip:
      return v1::InitramfsSpec::GZIP;
    case build::CpioCompression::kZstd:
      return v1::InitramfsSpec::ZSTD;
  }
  return v1::InitramfsSpec::COMPRESSION_UNSPECIFIED;
}

absl::StatusOr<std::optional<build::CpioCompression>> CompressionFrom(
    v1::InitramfsSpec::Compression compression) {
  switch (compression) {
    case v1::InitramfsSpec::COMPRESSION_UNSPECIFIED:
      return std::nullopt;
    case v1::InitramfsSpec::NONE:
      return build::CpioCompression::kNone;
    case v1::InitramfsSpec::GZIP:
      return build::CpioCompression::kGzip;
    case v1::InitramfsSpec::ZSTD:
      return build::CpioCompression::kZstd;
    default:
      return InvalidField("build.initramfs.compression", std::to_string(compression),
                          "build.initramfs.compression must be NONE, GZIP or ZSTD");
  }
}

v1::InitramfsSpec SpecOf(const build::InitramfsRequest& initramfs) {
  v1::InitramfsSpec message;
  message.set_architecture(ToMessage(initramfs.architecture));
  for (const auto& item : initramfs.config_items) message.add_config_items(ValidUtf8(item));
  for (const auto& fragment : initramfs.fragments) {
    message.add_fragments()->set_name(ValidUtf8(fragment.name));
  }
  for (const auto& overlay : initramfs.overlays) {
    message.add_overlay_uploads(ResourceName(kUploads, overlay.upload_id));
  }
  if (initramfs.compression) message.set_compression(CompressionOf(*initramfs.compression));
  if (!initramfs.modules_build.empty()) {
    message.set_modules_build(ResourceName(kBuilds, initramfs.modules_build));
  }
  message.set_clean(initramfs.clean);
  message.set_skip_cache(initramfs.skip_cache);
  return message;
}

v1::BuildProgress ProgressOf(const build::BuildRecord& record, absl::Time now) {
  const build::BuildProgress& progress = record.progress;
  v1::BuildProgress message;
  message.set_phase(PhaseOf(progress.phase));
  message.set_steps_done(progress.steps_done);
  message.set_steps_expected(progress.steps_expected);
  message.set_steps_expected_estimated(progress.steps_expected_estimated);
  message.set_cache_hits(progress.cache_hits);
  message.set_cache_misses(progress.cache_misses);
  message.set_queue_position(progress.queue_position);
  if (const auto left = progress.TimeLeft()) {
    message.set_steps_per_second(progress.steps_per_second);
    Set(*left, message.mutable_time_left());
  }
  if (record.start_time) {
    Set(record.end_time.value_or(now) - *record.start_time, message.mutable_elapsed());
  }
  return message;
}

absl::Status CheckName(std::string_view field, const std::string& name) {
  const bool clean = std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
  if (name.empty() || (clean && name.size() <= kMaxNameBytes && IsResourceId(name))) {
    return absl::OkStatus();
  }
  return InvalidField(
      field, name.substr(0, 128),
      fmt::format("{} must be 1 to 63 of [a-z0-9._-], not starting with '.' or '-'", field));
}

template <typename Items>
absl::Status CheckItems(std::string_view field, const Items& items) {
  if (static_cast<std::size_t>(items.size()) > kMaxItems) {
    return InvalidField(
        field, std::to_string(items.size()),
        fmt::format("{} holds {} items; at most {} are taken", field, items.size(), kMaxItems));
  }
  for (const std::string& item : items) {
    KDBG_RETURN_IF_ERROR(CheckSize(field, item.size(), kMaxItemBytes));
  }
  return absl::OkStatus();
}

template <typename Fragments>
absl::StatusOr<std::vector<build::ConfigFragment>> FragmentsFrom(std::string_view field,
                                                                 const Fragments& fragments) {
  std::vector<build::ConfigFragment> result;
  std::size_t total = 0;
  for (const v1::ConfigFragment& fragment : fragments) {
    if (fragment.name().empty()) {
      const std::string name = fmt::format("{}.name", field);
      return InvalidField(name, "", fmt::format("{} is required: messages name it", name));
    }
    total += fragment.name().size() + fragment.text().size();
    result.push_back({fragment.name(), fragment.text()});
  }
  KDBG_RETURN_IF_ERROR(CheckSize(field, total, kMaxConfigBytes));
  return result;
}

absl::StatusOr<build::KernelRequest> KernelFrom(const v1::KernelSpec& spec,
                                                std::string_view field) {
  build::KernelRequest kernel;
  const auto part = [field](std::string_view name) { return fmt::format("{}.{}", field, name); };
  KDBG_ASSIGN_OR_RETURN(kernel.architecture,
                        FromMessage(spec.architecture(), part("architecture")));
  if (!spec.base_config().empty()) kernel.base_config = spec.base_config();
  KDBG_RETURN_IF_ERROR(
      CheckSize(part("base_config"), spec.base_config().size(), kMaxNameBytes * 2));
  kernel.base_config_text = spec.base_config_text();
  KDBG_RETURN_IF_ERROR(
      CheckSize(part("base_config_text"), kernel.base_config_text.size(), kMaxConfigBytes));
  KDBG_ASSIGN_OR_RETURN(kernel.fragments, FragmentsFrom(part("fragments"), spec.fragments()));
  KDBG_RETURN_IF_ERROR(CheckItems(part("config_items"), spec.config_items()));
  kernel.config_items.assign(spec.config_items().begin(), spec.config_items().end());
  kernel.make_variables.insert(spec.make_variables().begin(), spec.make_variables().end());
  kernel.clean = spec.clean();
  kernel.skip_cache = spec.skip_cache();
  return kernel;
}

absl::StatusOr<build::InitramfsRequest> InitramfsFrom(const v1::InitramfsSpec& spec) {
  build::InitramfsRequest initramfs;
  KDBG_ASSIGN_OR_RETURN(initramfs.architecture,
                        FromMessage(spec.architecture(), "build.initramfs.architecture"));
  initramfs.init = spec.init();
  KDBG_RETURN_IF_ERROR(CheckSize("build.initramfs.init", initramfs.init.size(), kMaxInitBytes));
  KDBG_RETURN_IF_ERROR(CheckItems("build.initramfs.config_items", spec.config_items()));
  initramfs.config_items.assign(spec.config_items().begin(), spec.config_items().end());
  KDBG_ASSIGN_OR_RETURN(initramfs.fragments,
                        FragmentsFrom("build.initramfs.fragments", spec.fragments()));
  KDBG_ASSIGN_OR_RETURN(initramfs.compression, CompressionFrom(spec.compression()));
  KDBG_RETURN_IF_ERROR(CheckItems("build.initramfs.overlay_uploads", spec.overlay_uploads()));
  for (const std::string& name : spec.overlay_uploads()) {
    KDBG_ASSIGN_OR_RETURN(std::string id,
                          ParseResourceName(kUploads, name, "build.initramfs.overlay_uploads"));
    initramfs.overlays.push_back({.upload_id = std::move(id), .sha256 = {}});
  }
  if (!spec.modules_build().empty()) {
    KDBG_ASSIGN_OR_RETURN(
        initramfs.modules_build,
        ParseResourceName(kBuilds, spec.modules_build(), "build.initramfs.modules_build"));
  }
  initramfs.clean = spec.clean();
  initramfs.skip_cache = spec.skip_cache();
  return initramfs;
}

// What a terminfo entry can be called; it goes into an environment.
bool IsTerminalType(std::string_view name) {
  return !name.empty() && name.size() <= 64 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '+';
         });
}

}  // namespace

v1::Build ToMessage(const build::BuildRecord& record, absl::Time now) {
  v1::Build message;
  message.set_name(ResourceName(kBuilds, record.id));
  message.set_display_name(record.request.display_name);
  message.set_source(ResourceName(kSources, record.request.source_id));
  if (const auto* kernel = std::get_if<build::KernelRequest>(&record.request.spec)) {
    *message.mutable_kernel() = SpecOf(*kernel);
  } else {
    *message.mutable_initramfs() = SpecOf(std::get<build::InitramfsRequest>(record.request.spec));
  }
  message.set_private_(record.request.is_private);
  message.set_state(StateOf(record.state));
  if (record.failure) {
    v1::Failure& failure = *message.mutable_failure();
    failure = MakeFailure(FaultOf(record.failure->fault), ReasonName(record.failure->reason),
                          record.failure->message, record.failure->excerpt);
    failure.set_file(ValidUtf8(record.failure->file));
    failure.set_line(record.failure->line);
  }
  message.set_owner(record.owner);
  if (!record.artifact_id.empty()) {
    message.set_artifact(ResourceName(kArtifacts, record.artifact_id));
  }
  *message.mutable_progress() = ProgressOf(record, now);
  message.set_workspace(record.workspace);
  message.set_log_size_bytes(record.log_size_bytes);
  message.set_answered_from_store(record.answered_from_store);
  Set(record.create_time, message.mutable_create_time());
  if (record.start_time) Set(*record.start_time, message.mutable_start_time());
  if (record.end_time) Set(*record.end_time, message.mutable_end_time());
  return message;
}

absl::StatusOr<build::BuildRequest> RequestOf(const v1::CreateBuildRequest& request) {
  const v1::Build& wanted = request.build();
  build::BuildRequest result;
  KDBG_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  result.request_id = request.request_id();
  KDBG_RETURN_IF_ERROR(CheckName("build.display_name", wanted.display_name()));
  result.display_name = wanted.display_name();
  KDBG_RETURN_IF_ERROR(CheckName("build.workspace", wanted.workspace()));
  result.workspace = wanted.workspace();
  KDBG_ASSIGN_OR_RETURN(result.source_id,
                        ParseResourceName(kSources, wanted.source(), "build.source"));
  result.is_private = wanted.private_();
  switch (wanted.spec_case()) {
    case v1::Build::kKernel: {
      KDBG_ASSIGN_OR_RETURN(result.spec, KernelFrom(wanted.kernel(), "build.kernel"));
      return result;
    }
    case v1::Build::kInitramfs: {
      KDBG_ASSIGN_OR_RETURN(result.spec, InitramfsFrom(wanted.initramfs()));
      return result;
    }
    case v1::Build::SPEC_NOT_SET:
      break;
  }
  return InvalidField("build.spec", "", "build.spec is required: kernel or initramfs");
}

absl::StatusOr<host::TerminalSize> FromMessage(const v1::TerminalSize& size,
                                               std::string_view field) {
  constexpr int kMost = 2000;
  if (size.columns() < 1 || size.columns() > kMost || size.rows() < 1 || size.rows() > kMost) {
    return InvalidField(field, fmt::format("{}x{}", size.columns(), size.rows()),
                        fmt::format("{} has to be 1 to {} columns and rows", field, kMost));
  }
  return host::TerminalSize{.columns = size.columns(), .rows = size.rows()};
}

absl::StatusOr<build::ConfigEditRequest> RequestOf(const v1::ConfigureKernelRequest::Start& start) {
  build::ConfigEditRequest request;
  KDBG_ASSIGN_OR_RETURN(request.source_id,
                        ParseResourceName(kSources, start.source(), "start.source"));
  KDBG_ASSIGN_OR_RETURN(request.kernel, KernelFrom(start.kernel(), "start.kernel"));
  KDBG_ASSIGN_OR_RETURN(request.size, FromMessage(start.size(), "start.size"));
  if (!IsTerminalType(start.terminal())) {
    return InvalidField("start.terminal", start.terminal().substr(0, 64),
                        "start.terminal has to be the type of a terminal, as in TERM: xterm");
  }
  request.terminal_type = start.terminal();
  if (!v1::ConfigureKernelRequest::Program_IsValid(start.program())) {
    return InvalidField("start.program", std::to_string(start.program()),
                        "start.program has to be MENUCONFIG or NCONFIG");
  }
  if (start.program() == v1::ConfigureKernelRequest::NCONFIG) request.program = "nconfig";
  return request;
}

}  // namespace kdbg::service
