#include "server/build/stored_build.h"

#include "absl/strings/escaping.h"
#include "proto/contract/error.h"
#include "server/build/stored_build.pb.h"

namespace kdbg::build {
namespace {

using StoredFragments = google::protobuf::RepeatedPtrField<stored::Fragment>;

void Encode(const std::vector<ConfigFragment>& fragments, StoredFragments& to) {
  for (const ConfigFragment& fragment : fragments) {
    stored::Fragment& stored = *to.Add();
    stored.set_name(fragment.name);
    stored.set_text(fragment.text);
  }
}

std::vector<ConfigFragment> Decode(const StoredFragments& from) {
  std::vector<ConfigFragment> fragments;
  for (const stored::Fragment& fragment : from) {
    fragments.push_back({fragment.name(), fragment.text()});
  }
  return fragments;
}

void Encode(const KernelRequest& request, stored::Kernel& to) {
  to.set_architecture(std::string(TraitsOf(request.architecture).name));
  to.set_base_config(request.base_config);
  to.set_base_config_text(request.base_config_text);
  Encode(request.fragments, *to.mutable_fragments());
  for (const std::string& item : request.config_items) to.add_config_items(item);
  for (const auto& [name, value] : request.make_variables) {
    (*to.mutable_make_variables())[name] = value;
  }
  to.set_clean(request.clean);
  to.set_skip_cache(request.skip_cache);
}

void Encode(const InitramfsRequest& request, stored::Initramfs& to) {
  to.set_architecture(std::string(TraitsOf(request.architecture).name));
  to.set_init(request.init);
  Encode(request.fragments, *to.mutable_fragments());
  for (const InitramfsOverlay& overlay : request.overlays) {
    stored::Initramfs::Overlay& stored = *to.add_overlays();
    stored.set_upload_id(overlay.upload_id);
    stored.set_sha256(overlay.sha256);
  }
  to.set_modules_build(request.modules_build);
  to.set_modules_sha256(request.modules_sha256);
  if (request.compression) to.set_compression(static_cast<int>(*request.compression));
  for (const std::string& item : request.config_items) to.add_config_items(item);
  to.set_clean(request.clean);
  to.set_skip_cache(request.skip_cache);
}

Architecture ArchitectureOf(const std::string& name) {
  const ArchitectureTraits* traits = FindArchitecture(name);
  return traits == nullptr ? HostArchitecture() : traits->architecture;
}

KernelRequest Decode(const stored::Kernel& from) {
  KernelRequest request;
  request.architecture = ArchitectureOf(from.architecture());
  request.base_config = from.base_config();
  request.base_config_text = from.base_config_text();
  request.fragments = Decode(from.fragments());
  request.config_items.assign(from.config_items().begin(), from.config_items().end());
  for (const auto& [name, value] : from.make_variables()) request.make_variables[name] = value;
  request.clean = from.clean();
  request.skip_cache = from.skip_cache();
  return request;
}

InitramfsRequest Decode(const stored::Initramfs& from) {
  InitramfsRequest request;
  request.architecture = ArchitectureOf(from.architecture());
  request.init = from.init();
  request.fragments = Decode(from.fragments());
  for (const stored::Initramfs::Overlay& overlay : from.overlays()) {
    request.overlays.push_back({overlay.upload_id(), overlay.sha256()});
  }
  request.modules_build = from.modules_build();
  request.modules_sha256 = from.modules_sha256();
  if (from.has_compression()) {
    request.compression = static_cast<CpioCompression>(from.compression());
  }
  request.config_items.assign(from.config_items().begin(), from.config_items().end());
  request.clean = from.clean();
  request.skip_cache = from.skip_cache();
  return request;
}

void Encode(const BuildFailure& failure, stored::Failure& to) {
  to.set_fault(static_cast<int>(failure.fault));
  to.set_reason(std::string(ReasonName(failure.reason)));
  to.set_message(failure.message);
  to.set_file(failure.file);
  to.set_line(failure.line);
  to.set_excerpt(failure.excerpt);
}

BuildFailure Decode(const stored::Failure& from) {
  BuildFailure failure;
  failure.fault = static_cast<Fault>(from.fault());
  failure.reason = ReasonFromName(from.reason()).value_or(Reason::kBuildFailed);
  failure.message = from.message();
  failure.file = from.file();
  failure.line = from.line();
  failure.excerpt = from.excerpt();
  return failure;
}

}  // namespace

std::string EncodeDetail(const BuildRecord& record) {
  stored::Build build;
  build.set_source_id(record.request.source_id);
  if (const auto* kernel = std::get_if<KernelRequest>(&record.request.spec)) {
    Encode(*kernel, *build.mutable_kernel());
  } else {
    Encode(std::get<InitramfsRequest>(record.request.spec), *build.mutable_initramfs());
  }
  if (record.failure) Encode(*record.failure, *build.mutable_failure());
  build.set_workspace(record.workspace);
  build.set_answered_from_store(record.answered_from_store);
  build.set_phase(static_cast<int>(record.progress.phase));
  build.set_steps_done(record.progress.steps_done);
  build.set_steps_expected(record.progress.steps_expected);
  build.set_steps_expected_estimated(record.progress.steps_expected_estimated);
  build.set_cache_hits(record.progress.cache_hits);
  build.set_cache_misses(record.progress.cache_misses);
  build.set_log_size_bytes(record.log_size_bytes);
  // The column is text, and an init may hold any byte.
  return absl::Base64Escape(build.SerializeAsString());
}

absl::Status DecodeDetail(std::string_view text, BuildRecord& record) {
  std::string bytes;
  stored::Build build;
  if (!absl::Base64Unescape(std::string(text), &bytes) || !build.ParseFromString(bytes)) {
    return MakeError(absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
                     "the record of build " + record.id + " is damaged: delete that build");
  }
  record.request.source_id = build.source_id();
  if (build.has_initramfs()) {
    record.request.spec = Decode(build.initramfs());
  } else {
    record.request.spec = Decode(build.kernel());
  }
  if (build.has_failure()) record.failure = Decode(build.failure());
  record.workspace = build.workspace();
  record.answered_from_store = build.answered_from_store();
  record.progress.phase = static_cast<BuildPhase>(build.phase());
  record.progress.steps_done = build.steps_done();
  record.progress.steps_expected = build.steps_expected();
  record.progress.steps_expected_estimated = build.steps_expected_estimated();
  record.progress.cache_hits = build.cache_hits();
  record.progress.cache_misses = build.cache_misses();
  record.log_size_bytes = build.log_size_bytes();
  return absl::OkStatus();
}

}  // namespace kdbg::build
