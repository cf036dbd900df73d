#include "server/build/initramfs_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"
#include "server/build/build_facts.h"
#include "server/build/build_failure.h"
#include "server/build/config_text.h"
#include "server/build/cpio_writer.h"
#include "server/build/initramfs_tree.h"
#include "server/build/json_writer.h"
#include "server/build/kconfig.h"
#include "server/build/kernel_config.h"
#include "server/build/make_script.h"
#include "server/build/vmlinux_check.h"
#include "server/store/artifact_layout.h"

namespace kdbg::build {
namespace {

constexpr std::string_view kRecipe = "initramfs 3";
constexpr std::size_t kMaximumInit = std::size_t{1} << 20;
constexpr std::size_t kMaximumBusybox = std::size_t{64} << 20;

// BusyBox's kconfig has no olddefconfig: every new question gets an empty answer, its default. What
// it prints is all the questions, of interest only when it fails.
constexpr std::string_view kConfigureScript = R"(set -eu
mkdir -p /build/.kdbg
cd /build
cat > .kdbg/merged.config
quiet() { "$@" > .kdbg/config.log 2>&1 || { tail -n 40 .kdbg/config.log; exit 1; }; }
quiet make "$@" defconfig
awk 'function symbol(s) { sub(/^# /, "", s); sub(/[ =].*/, "", s); return s }
  /^(# )?CONFIG_[A-Za-z0-9_]+[ =]/ { if (FNR == NR) seen[symbol($0)] = 1
    else if (!(symbol($0) in seen)) print }' .kdbg/merged.config .config > .kdbg/work.config
cat .kdbg/merged.config >> .kdbg/work.config
cp .kdbg/work.config .config
yes '' 2>/dev/null | quiet make "$@" oldconfig
)";

constexpr std::string_view kCompileScript = R"(set -eu
cd /build
rm -f .kdbg/ccache.log
jobs=$1
shift
use_compiler_cache
resumable_make -j"$jobs" "$@" busybox
make "$@" busybox.links
)";

// What the caller asked for, and static whatever it was: nothing else is in the initramfs.
absl::StatusOr<std::vector<ConfigEntry>> RequestedEntries(const InitramfsRequest& request) {
  std::vector<ConfigEntry> entries;
  for (const ConfigFragment& fragment : request.fragments) {
    KDBG_ASSIGN_OR_RETURN(std::vector<ConfigEntry> more,
                          ParseConfigText(fragment.text, fragment.name));
    entries.insert(entries.end(), more.begin(), more.end());
  }
  for (const std::string& item : request.config_items) {
    KDBG_ASSIGN_OR_RETURN(ConfigEntry entry, ParseConfigItem(item));
    entries.push_back(std::move(entry));
  }
  entries.push_back({"STATIC", "y"});
  return MergeEntries(entries);
}

}  // namespace

absl::Status CheckInitramfsRequest(const InitramfsRequest& request) {
  if (request.init.size() > kMaximumInit) {
    return InvalidField("init", std::to_string(request.init.size()),
                        "an init of more than 1 MiB is not taken: send a smaller program");
  }
  if (!request.init.empty() && !request.init.starts_with("#!") &&
      !request.init.starts_with("\x7f"
                                "ELF")) {
    return InvalidField("init", "", "the init is neither a script with #! nor an ELF program");
  }
  for (const std::string& item : request.config_items) {
    KDBG_ASSIGN_OR_RETURN(const ConfigEntry entry, ParseConfigItem(item));
    if (entry.symbol == "STATIC" && entry.value != "y") {
      return InvalidField("config_items", item,
                          "BusyBox has to be static, there are no libraries in the initramfs");
    }
  }
  return RequestedEntries(request).status();
}

std::string ConfigKey(const InitramfsRequest& request, const Toolchain& toolchain) {
  const auto requested = RequestedEntries(request);
  return Sha256Hex(fmt::format("{}\n{}\n{}\n{}", kRecipe, toolchain.identity,
                               TraitsOf(request.architecture).name,
                               requested.ok() ? ToText(*requested) : ""));
}

InitramfsBuilder::InitramfsBuilder(BuildRun& run, store::BlobStore& blobs,
                                   const InitramfsSources& sources, const InitramfsRequest& request,
                                   const Toolchain& toolchain, const BuildOrigin& origin)
    : run_(run),
      blobs_(blobs),
      sources_(sources),
      request_(request),
      traits_(TraitsOf(request.architecture)),
      toolchain_(toolchain),
      origin_(origin),
      outputs_(blobs) {}

BuildCommand InitramfsBuilder::Make(std::string label, std::string script,
                                    std::vector<std::string> more) const {
  BuildCommand command;
  command.label = std::move(label);
  command.argv = {"sh", "-c", std::move(script), "kdbg"};
  command.argv.insert(command.argv.end(), more.begin(), more.end());
  command.argv.insert(
      command.argv.end(),
      {"-C", "/src", "O=/build", fmt::format("ARCH={}", traits_.make_arch),
       fmt::format("CC=ccache {}gcc", toolchain_.cross_prefix), "HOSTCC=ccache gcc"});
  if (!toolchain_.cross_prefix.empty()) {
    command.argv.push_back("CROSS_COMPILE=" + toolchain_.cross_prefix);
  }
  return command;
}

bool InitramfsBuilder::HasConfig() const {
  return Outputs::Open(run_.directories().build, ".config").ok();
}

absl::Status InitramfsBuilder::Configure() {
  BuildCommand command = Make("configure", std::string(kConfigureScript), {});
  KDBG_ASSIGN_OR_RETURN(const std::vector<ConfigEntry> requested, RequestedEntries(request_));
  KDBG_ASSIGN_OR_RETURN(const std::vector<ConfigEntry> merged,
                        MergeUnder(ErasOf(Project::kBusybox, origin_.version), requested));
  command.input = ToText(merged);
  KDBG_RETURN_IF_ERROR(run_.Run(command));
  KDBG_ASSIGN_OR_RETURN(const std::string config,
                        Outputs::Read(run_.directories().build, ".config"));
  return Verify(config);
}

absl::Status InitramfsBuilder::Verify(const std::string& config) const {
  const ConfigValues values = ConfigValues::FromText(config);
  KDBG_ASSIGN_OR_RETURN(const std::vector<ConfigEntry> wanted, RequestedEntries(request_));
  std::set<std::string> by_item;
  for (const std::string& item : request_.config_items) {
    KDBG_ASSIGN_OR_RETURN(const ConfigEntry entry, ParseConfigItem(item));
    by_item.insert(entry.symbol);
  }
  std::optional<Kconfig> kconfig;
  return VerifyEntries(wanted, by_item, values, [&]() -> absl::StatusOr<const Kconfig*> {
    // Most of its Config.in files are generated.
    const auto read = [&](const std::string& path) {
      auto text = Outputs::Read(run_.directories().build, path);
      if (text.ok()) return text;
      return Outputs::Read(run_.directories().source, path);
    };
    KDBG_ASSIGN_OR_RETURN(kconfig, Kconfig::Read("Config.in", {}, read));
    return &*kconfig;
  });
}

absl::StatusOr<BuiltArtifact> InitramfsBuilder::Build() {
  run_.EnterPhase(BuildPhase::kCompiling);
  KDBG_RETURN_IF_ERROR(
      run_.Run(Make("make", MakeScript(kCompileScript), {std::to_string(run_.jobs())})));
  const CacheCounts counts = ReadCacheCounts(run_.directories().build);
  run_.SetCacheCounts(counts.hits, counts.misses);
  run_.EnterPhase(BuildPhase::kPacking);
  KDBG_RETURN_IF_ERROR(Pack());
  KDBG_ASSIGN_OR_RETURN(const std::string config,
                        Outputs::Read(run_.directories().build, ".config"));
  KDBG_RETURN_IF_ERROR(outputs_.TakeBytes(config, "busybox.config"));
  run_.EnterPhase(BuildPhase::kPublishing);
  const CpioCompression packed = request_.compression.value_or(CpioCompression::kNone);
  // "# Busybox version: 1.35.0"
  constexpr std::string_view kMark = "version: ";
  const std::size_t at = config.find(kMark);
  std::string version;
  if (at != std::string::npos && at < 200) {
    const std::size_t start = at + kMark.size();
    version = config.substr(start, config.find_first_of(" \n", start) - start);
  }
  KDBG_RETURN_IF_ERROR(TakeMetadata(config, version));
  return BuiltArtifact{.files = outputs_.files(),
                       .gnu_build_id = {},
                       .version = version,
                       .attributes = {{store::kAnnouncesAttribute, announces_ ? "1" : "0"},
                                      {store::kPackedAttribute, std::string(NameOf(packed))}}};
}

absl::StatusOr<std::string> InitramfsBuilder::ReadProgram() const {
  KDBG_ASSIGN_OR_RETURN(const UniqueFd file, Outputs::Open(run_.directories().build, "busybox"));
  if (absl::Status linked = CheckStaticProgram(file); !linked.ok()) {
    BuildFailure failure;
    failure.fault = Fault::kSubject;
    failure.reason = Reason::kBuildFailed;
    failure.message = fmt::format(
        "busybox is no program that runs on its own ({}): is there a static libc for this "
        "architecture (libc6-dev)?",
        std::string(linked.message()));
    return FailureStatus(failure);
  }
  return Outputs::Read(run_.directories().build, "busybox", kMaximumBusybox);
}

absl::Status InitramfsBuilder::Pack() {
  InitramfsContent content;
  KDBG_ASSIGN_OR_RETURN(content.busybox, ReadProgram());
  KDBG_ASSIGN_OR_RETURN(content.links, Outputs::Read(run_.directories().build, "busybox.links"));
  content.init = request_.init;
  KDBG_ASSIGN_OR_RETURN(content.layers, ReadLayers(sources_, request_));
  KDBG_ASSIGN_OR_RETURN(const std::vector<CpioEntry> entries, InitramfsTree(std::move(content)));
  announces_ = std::any_of(entries.begin(), entries.end(), [](const CpioEntry& entry) {
    return entry.path == "init" && entry.content == InitScript();
  });
  const CpioCompression compression = request_.compression.value_or(CpioCompression::kNone);
  KDBG_ASSIGN_OR_RETURN(store::BlobStore::Ingest ingest, blobs_.NewIngest());
  KDBG_ASSIGN_OR_RETURN(
      const std::unique_ptr<CpioWriter> writer,
      CpioWriter::Open([&](std::string_view bytes) { return ingest.Write(bytes); }, compression));
  for (const CpioEntry& entry : entries) KDBG_RETURN_IF_ERROR(writer->Add(entry));
  KDBG_RETURN_IF_ERROR(writer->Finish());
  KDBG_ASSIGN_OR_RETURN(const store::Blob blob, ingest.Commit());
  outputs_.Add({fmt::format("{}{}", store::kInitramfsFile, SuffixOf(compression)), blob.digest,
                blob.size_bytes});
  return absl::OkStatus();
}

absl::Status InitramfsBuilder::TakeMetadata(const std::string& config, const std::string& version) {
  JsonObject metadata;
  metadata.Text("kind", "initramfs")
      .Text("build", "builds/" + origin_.build_id)
      .Text("source", "sources/" + origin_.source_id)
      .Text("source_origin", origin_.source_text)
      .Text("tree", origin_.tree)
      .Text("version", version)
      .Text("architecture", traits_.name)
      .Text("config_sha256", Sha256Hex(config))
      .Text("toolchain", toolchain_.identity)
      .Text("init", request_.init.empty() ? "kdbgd's own" : Sha256Hex(request_.init))
      .Object("durations_seconds", DurationsOf(run_))
      .Object("ccache", JsonObject()
                            .Integer("hits", run_.progress().cache_hits)
                            .Integer("misses", run_.progress().cache_misses))
      .Integer("steps", run_.progress().steps_done)
      .Text("by_hand",
            "with the tree at /src and this artifact's busybox.config as /build/.config: "
            "make -C /src O=/build busybox");
  return outputs_.TakeBytes(metadata.ToString(), "metadata.json");
}

}  // namespace kdbg::build
