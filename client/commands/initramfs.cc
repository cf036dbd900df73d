#include "client/commands/initramfs.h"

#include <fmt/format.h>

#include <filesystem>

#include "client/commands/build_watch.h"
#include "client/commands/kernel.h"
#include "client/commands/lookup.h"
#include "client/commands/packed_upload.h"
#include "client/commands/source_import.h"
#include "client/commands/user_file.h"

namespace kdbg::client {
namespace {

constexpr std::size_t kInitLimit = 1 << 20;
constexpr std::size_t kConfigLimit = 1 << 20;

absl::StatusOr<v1::Source> BusyboxSource(Context& context, const std::string& text) {
  if (!text.empty())
    return ImportSource(
        context, {.text = text, .ref = {}, .sha256 = {}, .patches = {}, .project = Busybox()});
  auto newest = NewestSource(context, "busybox");
  if (absl::IsNotFound(newest.status())) {
    return absl::InvalidArgumentError(
        "the server has no BusyBox source of yours yet: give --busybox TARBALL");
  }
  return newest;
}

absl::StatusOr<v1::InitramfsSpec::Compression> ParseCompression(const std::string& text) {
  if (text.empty() || text == "auto") return v1::InitramfsSpec::COMPRESSION_UNSPECIFIED;
  if (text == "none") return v1::InitramfsSpec::NONE;
  if (text == "gzip") return v1::InitramfsSpec::GZIP;
  if (text == "zstd") return v1::InitramfsSpec::ZSTD;
  return absl::InvalidArgumentError(
      fmt::format("--compress {}: write auto, none, gzip or zstd", text));
}

}  // namespace

CommandEnd InitramfsBuild(Context& context, const InitramfsBuildOptions& options) {
  v1::Build build;
  v1::InitramfsSpec& spec = *build.mutable_initramfs();
  KDBG_ASSIGN_OR_RETURN(const v1::Architecture architecture,
                        ParseArchitecture(options.architecture));
  spec.set_architecture(architecture);
  if (!options.init.empty()) {
    KDBG_ASSIGN_OR_RETURN(*spec.mutable_init(), ReadUserFile(options.init, kInitLimit));
  }
  for (const std::string& path : options.configs) {
    v1::ConfigFragment* fragment = spec.add_fragments();
    fragment->set_name(std::filesystem::path(path).filename().string());
    KDBG_ASSIGN_OR_RETURN(*fragment->mutable_text(), ReadUserFile(path, kConfigLimit));
  }
  for (const std::string& item : options.config_items) spec.add_config_items(item);
  KDBG_ASSIGN_OR_RETURN(const auto compression, ParseCompression(options.compression));
  spec.set_compression(compression);
  spec.set_clean(options.clean);
  spec.set_skip_cache(options.skip_cache);
  if (!options.modules.empty()) {
    KDBG_ASSIGN_OR_RETURN(const v1::Build modules, FindBuild(context, options.modules));
    spec.set_modules_build(modules.name());
  }
  KDBG_ASSIGN_OR_RETURN(const v1::Source source, BusyboxSource(context, options.busybox));
  if (source.state() == v1::Source::FAILED) return ReportSource(context, source);
  for (const std::string& overlay : options.overlays) {
    KDBG_ASSIGN_OR_RETURN(const v1::Upload upload, UploadTar(context, "--overlay", overlay));
    spec.add_overlay_uploads(upload.name());
  }
  build.set_source(source.name());
  build.set_display_name(options.name);
  build.set_private_(options.is_private);
  for (const std::string& user : options.readers) build.add_readers(user);
  return StartBuild(context, build, options.detach ? Detach::kYes : Detach::kNo);
}

}  // namespace kdbg::client
