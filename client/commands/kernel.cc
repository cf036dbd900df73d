#include "client/commands/kernel.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "client/commands/failure_report.h"
#include "client/commands/lookup.h"
#include "client/commands/user_file.h"
#include "proto/support/file.h"

namespace kdbg::client {
namespace {

constexpr std::size_t kConfigLimit = 1 << 20;
// The first lines of what Kconfig itself writes.
constexpr std::string_view kWholeConfigMark = "Automatically generated file; DO NOT EDIT";

bool NamesAFile(const std::string& config) {
  std::error_code error;
  return config.find('/') != std::string::npos || std::filesystem::is_regular_file(config, error);
}

// A name or a whole .config is the base, any other file a fragment over it.
absl::Status AddConfig(const std::string& config, v1::KernelSpec& spec) {
  const bool has_base = !spec.base_config().empty() || !spec.base_config_text().empty();
  if (!NamesAFile(config)) {
    if (has_base) return absl::InvalidArgumentError("--config: only one base can be given");
    spec.set_base_config(config);
    return absl::OkStatus();
  }
  KDBG_ASSIGN_OR_RETURN(const std::string text, ReadUserFile(config, kConfigLimit));
  if (std::string_view(text).substr(0, 512).find(kWholeConfigMark) != std::string_view::npos) {
    if (has_base) return absl::InvalidArgumentError("--config: only one base can be given");
    spec.set_base_config_text(text);
    return absl::OkStatus();
  }
  v1::ConfigFragment* fragment = spec.add_fragments();
  fragment->set_name(std::filesystem::path(config).filename().string());
  fragment->set_text(text);
  return absl::OkStatus();
}

// Everything local is checked before anything travels.
absl::StatusOr<v1::Build> MakeBuild(Context& context, const KernelBuildOptions& options,
                                    int& failed) {
  v1::Build build;
  KDBG_ASSIGN_OR_RETURN(*build.mutable_kernel(), KernelSpecOf(options));
  build.set_display_name(options.name);
  if (options.name.empty()) build.set_workspace(LineOfWorkOf(options.source));
  build.set_private_(options.is_private);
  for (const std::string& user : options.readers) build.add_readers(user);
  KDBG_ASSIGN_OR_RETURN(const v1::Source source, ImportSource(context, options.source));
  if (source.state() == v1::Source::FAILED) failed = ReportSource(context, source);
  build.set_source(source.name());
  return build;
}

}  // namespace

absl::StatusOr<v1::KernelSpec> KernelSpecOf(const KernelBuildOptions& options) {
  v1::KernelSpec spec;
  KDBG_ASSIGN_OR_RETURN(const v1::Architecture architecture,
                        ParseArchitecture(options.architecture));
  spec.set_architecture(architecture);
  for (const std::string& config : options.configs) KDBG_RETURN_IF_ERROR(AddConfig(config, spec));
  for (const std::string& item : options.config_items) spec.add_config_items(item);
  for (const std::string& variable : options.make_variables) {
    const auto equals = variable.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(fmt::format("--make {}: write VARIABLE=VALUE", variable));
    }
    (*spec.mutable_make_variables())[variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  spec.set_clean(options.clean);
  spec.set_skip_cache(options.skip_cache);
  return spec;
}

int ReportSource(Context& context, const v1::Source& source) {
  if (context.output().format() == Format::kJson) context.output().Resource(source, "", {});
  (void)WriteAll(STDERR_FILENO, FailureReport(source.name(), source.failure()));
  return kExitFailed;
}

CommandEnd KernelBuild(Context& context, const KernelBuildOptions& options) {
  int failed = 0;
  KDBG_ASSIGN_OR_RETURN(const v1::Build build, MakeBuild(context, options, failed));
  if (failed != 0) return failed;
  return StartBuild(context, build, options.detach ? Detach::kYes : Detach::kNo);
}

absl::StatusOr<v1::Build> BuildKernelFor(Context& context, const KernelBuildOptions& options,
                                         int& failed) {
  v1::CreateBuildRequest request;
  KDBG_ASSIGN_OR_RETURN(*request.mutable_build(), MakeBuild(context, options, failed));
  if (failed != 0) return request.build();
  request.set_request_id(NewRequestId());
  KDBG_ASSIGN_OR_RETURN(v1::Build build, context.Call<v1::BuildService>(
                                             &v1::BuildService::Stub::CreateBuild, request));
  KDBG_ASSIGN_OR_RETURN(build, WatchBuild(context, build.name()));
  if (build.state() != v1::Build::SUCCEEDED) failed = ReportBuild(context, build);
  return build;
}

}  // namespace kdbg::client
