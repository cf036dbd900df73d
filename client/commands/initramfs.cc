#include "client/commands/initramfs.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "client/commands/build_watch.h"
#include "client/commands/kernel.h"
#include "client/commands/lookup.h"
#include "client/commands/source_import.h"
#include "client/commands/upload.h"

namespace kdbg::client {
namespace {

constexpr std::size_t kInitLimit = 1 << 20;

absl::StatusOr<v1::Source> BusyboxSource(Context& context, const std::string& text) {
  if (!text.empty()) return ImportSource(context, {.text = text, .ref = {}});
  auto newest = NewestSource(context, "busybox");
  if (absl::IsNotFound(newest.status())) {
    return absl::InvalidArgumentError(
        "the server has no BusyBox source of yours yet: give --busybox TARBALL");
  }
  return newest;
}

absl::Status AddOverlays(Context& context, const std::vector<std::string>& overlays,
                         v1::InitramfsSpec& spec) {
  for (const std::string& overlay : overlays) {
    std::error_code error;
    if (std::filesystem::is_directory(overlay, error)) {
      return absl::UnimplementedError(fmt::format(
          "--overlay {0}: a directory is not in this version; pack it (tar cf overlay.tar -C {0} "
          ".) and give the tar file",
          overlay));
    }
    Progress progress(context.output());
    KDBG_ASSIGN_OR_RETURN(const LocalFile file, OpenAndHash(overlay, progress));
    KDBG_ASSIGN_OR_RETURN(const v1::Upload upload, UploadFile(context, file, progress));
    spec.add_overlay_uploads(upload.name());
  }
  return absl::OkStatus();
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
  for (const std::string& item : options.config_items) spec.add_config_items(item);
  spec.set_clean(options.clean);
  spec.set_skip_cache(options.skip_cache);
  if (!options.modules.empty()) {
    KDBG_ASSIGN_OR_RETURN(const v1::Build modules, FindBuild(context, options.modules));
    spec.set_modules_build(modules.name());
  }
  KDBG_ASSIGN_OR_RETURN(const v1::Source source, BusyboxSource(context, options.busybox));
  if (source.state() == v1::Source::FAILED) return ReportSource(context, source);
  KDBG_RETURN_IF_ERROR(AddOverlays(context, options.overlays, spec));
  build.set_source(source.name());
  build.set_display_name(options.name);
  build.set_private_(options.is_private);
  return StartBuild(context, build, options.detach ? Detach::kYes : Detach::kNo);
}

}  // namespace kdbg::client
