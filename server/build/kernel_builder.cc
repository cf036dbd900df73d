#include "server/build/kernel_builder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <re2/re2.h>

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <string_view>
#include <system_error>
#include <utility>

#include "proto/contract/error.h"
#include "proto/support/sha256.h"
#include "proto/support/status_macros.h"
#include "server/build/build_facts.h"
#include "server/build/json_writer.h"
#include "server/build/make_script.h"
#include "server/store/artifact_layout.h"

namespace kdbg::build {
namespace {

constexpr std::size_t kMaximumFragments = std::size_t{1} << 20;
// To be raised when the way kernels are made changes, so that no old answer is taken for a new one.
constexpr std::string_view kRecipe = "kernel 4";
constexpr std::string_view kWorkConfig = ".kdbg/work.config";

// Inside the sandbox, with the arguments of make as "$@" and the merged fragments on stdin. The
// base comes first, then loses what the fragments set, so that no symbol is there twice.
constexpr std::string_view kConfigureScript = R"(set -eu
mkdir -p /build/.kdbg
cd /build/.kdbg
cat > merged.config
rm -f base.config work.config
base=$1
shift
case $base in
tiny) sed -e '1,/^=== base ===$/d' merged.config > preset.config
  make "$@" KCONFIG_CONFIG=.kdbg/base.config KCONFIG_ALLCONFIG=.kdbg/preset.config allnoconfig ;;
text) sed -e '1,/^=== base ===$/d' merged.config > base.config ;;
*) make "$@" KCONFIG_CONFIG=.kdbg/base.config "$base" ;;
esac
sed -i -e '/^=== base ===$/,$d' merged.config
awk 'function symbol(s) { sub(/^# /, "", s); sub(/[ =].*/, "", s); return s }
  /^(# )?CONFIG_[A-Za-z0-9_]+[ =]/ { if (FNR == NR) seen[symbol($0)] = 1
    else if (!(symbol($0) in seen)) print }' merged.config base.config > work.config
cat merged.config >> work.config
make "$@" KCONFIG_CONFIG=.kdbg/work.config olddefconfig
)";

// Whatever writes a config leaves out this line of its last one, so that one that was saved can be
// told from one that was not, even when nothing in it was changed. A terminal this host has not
// heard of is most likely one that does as xterm does.
constexpr std::string_view kNotSaved = "# kdbg: not saved";
constexpr std::string_view kEditScript = R"(set -eu
cd /build
cp .kdbg/work.config .config
echo "$1" >> .config
program=$2
shift 2
infocmp "$TERM" > /dev/null 2>&1 || export TERM=xterm-256color
exec make --no-print-directory "$@" "$program"
)";

// The config keeps its time stamp unless it changed, or everything would be compiled anew. The list
// of compile commands is made by the tree's own script rather than by its make target, which would
// build all modules first.
constexpr std::string_view kCompileScript = R"(set -eu
cd /build
rm -f .kdbg/ccache.log
cmp -s .kdbg/work.config .config || cp .kdbg/work.config .config
targets="$1 vmlinux"
shift
if grep -q '^CONFIG_GDB_SCRIPTS=y' .config && grep -q '^scripts_gdb' /src/Makefile; then
  targets="$targets scripts_gdb"
fi
jobs=$1
shift
if grep -q '^CONFIG_MODULES=y' .config; then targets="$targets modules"; fi
use_compiler_cache
resumable_make -j"$jobs" "$@" $targets
for script in /src/scripts/clang-tools/gen_compile_commands.py /src/scripts/gen_compile_commands.py
do
  [ -f "$script" ] || continue
  [ compile_commands.json -nt vmlinux ] || python3 "$script" -d /build -o compile_commands.json || :
  break
done
)";

// Stripped for the guest's memory; gdb reads the ones left in the build directory. depmod runs as
// part of it. Packed the same each time.
constexpr std::string_view kModulesScript = R"(set -eu
cd /build
rm -rf .kdbg/modules .kdbg/modules.tar
[ -s modules.order ] || exit 0
make "$@" INSTALL_MOD_PATH=/build/.kdbg/modules INSTALL_MOD_STRIP=1 modules_install
rm -f .kdbg/modules/lib/modules/*/build .kdbg/modules/lib/modules/*/source
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C .kdbg/modules \
  -cf .kdbg/modules.tar lib
rm -rf .kdbg/modules
)";
constexpr std::size_t kMaximumModules = 20'000;

bool IsDefconfigName(std::string_view name) {
  return name.ends_with("_defconfig") && name.size() <= 100 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_' || c == '-' || c == '.';
         });
}

// What `make_variables` may set. All of it is part of the key of a build.
struct MakeVariable {
  std::string_view name;
  const char* values;  // a regular expression for the whole
  std::string_view says;
};
constexpr char kFlags[] = "[\\x20-\\x7e]{0,1000}";
constexpr MakeVariable kMakeVariables[] = {
    {"KCFLAGS", kFlags, "flags for the compiler"},
    {"KAFLAGS", kFlags, "flags for the assembler"},
    {"KCPPFLAGS", kFlags, "flags for the preprocessor"},
    {"HOSTCFLAGS", kFlags, "flags for the source's own tools"},
    {"LOCALVERSION", "[A-Za-z0-9._+-]{0,64}", "letters, digits and . _ + - behind the version"},
    {"W", "[123ce]{1,5}", "more warnings: 1, 2, 3, c, e together"},
    {"C", "[12]", "sparse: 1 for what is compiled, 2 for everything"},
    {"LLVM", "1|-[0-9]{1,2}", "clang and lld: 1, or a version such as -14"},
    {"KBUILD_MODPOST_WARN", "1", "1: undefined symbols of modules are warnings"},
};

absl::Status CheckMakeVariables(const std::map<std::string, std::string>& variables) {
  for (const auto& [name, value] : variables) {
    const auto* known = std::find_if(
        std::begin(kMakeVariables), std::end(kMakeVariables),
        [&name = name](const MakeVariable& variable) { return variable.name == name; });
    if (known == std::end(kMakeVariables)) {
      std::string names;
      for (const MakeVariable& variable : kMakeVariables) {
        names += fmt::format("{}{}", names.empty() ? "" : ", ", variable.name);
      }
      return InvalidField(
          "make_variables", name,
          fmt::format("make variable {} is not one that may be set; those are {}", name, names));
    }
    // What make itself would expand is not a value.
    if (!RE2::FullMatch(value, known->values) || value.find_first_of("$`") != std::string::npos) {
      return InvalidField("make_variables", name,
                          fmt::format("{} takes {}, without $", name, known->says));
    }
  }
  return absl::OkStatus();
}

std::string BaseName(const KernelRequest& request) {
  if (!request.base_config_text.empty()) return "text";
  return request.base_config.empty() ? "tiny" : request.base_config;
}

// What goes to the configure script: the fragments, and behind the mark the base when it is ours.
std::string ConfigInput(const KernelRequest& request, const RequestedConfig& config) {
  std::string input = ToText(config.merged) + "=== base ===\n";
  const std::string base = BaseName(request);
  if (base == "tiny") input.append(TinyFragment());
  if (base == "text") input.append(request.base_config_text).append("\n");
  return input;
}

// The lines of modules.order, as paths of modules: 6.4 and later list objects there.
std::vector<std::string> ModulesInOrder(std::string_view order) {
  std::vector<std::string> modules;
  while (!order.empty()) {
    const std::size_t end = order.find('\n');
    std::string module(order.substr(0, end));
    order = end == std::string_view::npos ? std::string_view() : order.substr(end + 1);
    if (module.ends_with(".o")) module.replace(module.size() - 1, 1, "ko");
    if (!module.empty()) modules.push_back(std::move(module));
  }
  return modules;
}

std::string UnpacksOf(const ConfigValues& config) {
  if (config.Get("BLK_DEV_INITRD") != "y") return "nothing";
  std::string kinds = "none";
  if (config.Get("RD_GZIP") == "y") kinds += " gzip";
  if (config.Get("RD_ZSTD") == "y") kinds += " zstd";
  return kinds;
}

std::string DrivesOf(const ConfigValues& config) {
  const auto has = [&](std::initializer_list<const char*> symbols) {
    return std::all_of(symbols.begin(), symbols.end(), [&](const char* symbol) {
      return config.Get(symbol) == "y" || config.Get(symbol) == "m";
    });
  };
  std::vector<std::string_view> drives;
  if (has({"VIRTIO_NET", "VIRTIO_PCI", "INET"})) drives.push_back("net");
  if (has({"VIRTIO_BLK", "VIRTIO_PCI"})) drives.push_back("disk");
  if (has({"9P_FS", "NET_9P_VIRTIO", "VIRTIO_PCI"})) drives.push_back("folder");
  return drives.empty() ? "nothing" : fmt::format("{}", fmt::join(drives, " "));
}

}  // namespace

absl::Status CheckKernelRequest(const KernelRequest& request) {
  std::size_t total = request.base_config_text.size();
  for (const ConfigFragment& fragment : request.fragments) total += fragment.text.size();
  for (const std::string& item : request.config_items) total += item.size();
  if (total > kMaximumFragments) {
    return InvalidField("fragments", std::to_string(total),
                        "config text of more than 1 MiB is not taken: send less");
  }
  const std::string base = BaseName(request);
  if (base == "text") {
    KDBG_RETURN_IF_ERROR(ParseConfigText(request.base_config_text, "the config").status());
  } else if (base != "tiny" && base != "defconfig" && base != "allnoconfig" &&
             !IsDefconfigName(base)) {
    return InvalidField("base_config", base,
                        fmt::format("\"{}\" is no base config: use tiny, defconfig, allnoconfig or "
                                    "a name of the source that ends in _defconfig",
                                    base));
  }
  KDBG_RETURN_IF_ERROR(CheckMakeVariables(request.make_variables));
  return ReadRequestedConfig(request).status();
}

std::string BaseConfigPath(const KernelRequest& request) {
  const std::string base = BaseName(request);
  if (!IsDefconfigName(base)) return {};
  return fmt::format("arch/{}/configs/{}", TraitsOf(request.architecture).source_directory, base);
}

std::string ConfigKey(const KernelRequest& request, const Toolchain& toolchain) {
  const auto config = ReadRequestedConfig(request);
  return Sha256Hex(fmt::format("{}\n{}\n{}\n{}\n{}", kRecipe, toolchain.identity,
                               TraitsOf(request.architecture).name, BaseName(request),
                               config.ok() ? ConfigInput(request, *config) : ""));
}

KernelBuilder::KernelBuilder(BuildRun& run, store::BlobStore& blobs, const KernelRequest& request,
                             const Toolchain& toolchain, const BuildOrigin& origin)
    : run_(run),
      request_(request),
      eras_(ErasOf(Project::kLinux, origin.version)),
      traits_(TraitsOf(request.architecture)),
      toolchain_(toolchain),
      origin_(origin),
      outputs_(blobs) {}

std::vector<std::string> KernelBuilder::MakeArguments() const {
  // Fixed, so that the same input gives the same bytes.
  std::vector<std::string> arguments = {"-C",
                                        "/src",
                                        "O=/build",
                                        fmt::format("ARCH={}", traits_.make_arch),
                                        "CC=ccache " + toolchain_.compiler,
                                        "HOSTCC=ccache " + toolchain_.host_compiler,
                                        "KBUILD_BUILD_TIMESTAMP=Thu Jan 1 00:00:00 UTC 1970",
                                        "KBUILD_BUILD_USER=kdbg",
                                        "KBUILD_BUILD_HOST=kdbg",
                                        "KBUILD_BUILD_VERSION=1"};
  if (!toolchain_.cross_prefix.empty()) {
    arguments.push_back("CROSS_COMPILE=" + toolchain_.cross_prefix);
  }
  std::map<std::string, std::string> variables = {{"LOCALVERSION", ""}};
  for (const std::string& text : TextsOf(eras_, Era::Kind::kMakeVariable)) {
    const std::size_t equals = text.find('=');
    variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  for (const auto& [kind, name] : {std::pair(Era::Kind::kCompilerFlag, "KCFLAGS"),
                                   std::pair(Era::Kind::kHostFlag, "HOSTCFLAGS")}) {
    const std::vector<std::string> flags = TextsOf(eras_, kind);
    if (!flags.empty()) variables[name] = fmt::format("{}", fmt::join(flags, " "));
  }
  for (const auto& [name, value] : request_.make_variables) {
    // Flags are added to those of the era, so that the caller's are the last word.
    std::string& variable = variables[name];
    const bool adds = name.ends_with("FLAGS") && !variable.empty();
    variable = adds ? fmt::format("{} {}", variable, value) : value;
  }
  for (const auto& [name, value] : variables) {
    arguments.push_back(fmt::format("{}={}", name, value));
  }
  return arguments;
}

BuildCommand KernelBuilder::Make(std::string label, std::string script,
                                 std::vector<std::string> more) const {
  BuildCommand command;
  command.label = std::move(label);
  command.argv = {"sh", "-c", std::move(script), "kdbg"};
  command.argv.insert(command.argv.end(), more.begin(), more.end());
  const std::vector<std::string> arguments = MakeArguments();
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  return command;
}

bool KernelBuilder::DecidesConfig(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  if (name.starts_with("Kconfig") || path.starts_with("scripts/")) return true;
  if (path.find("configs/") != std::string::npos) return true;
  // Their flags decide what the compiler is found to be able to.
  return path == "Makefile" || (path.starts_with("arch/") && name == "Makefile" &&
                                std::count(path.begin(), path.end(), '/') == 2);
}

bool KernelBuilder::HasConfig() const {
  return Outputs::Open(run_.directories().build, kWorkConfig).ok() &&
         Outputs::Open(run_.directories().build, ".config").ok();
}

absl::Status KernelBuilder::Configure() {
  KDBG_ASSIGN_OR_RETURN(RequestedConfig requested, ReadRequestedConfig(request_));
  KDBG_ASSIGN_OR_RETURN(requested.merged, MergeUnder(eras_, requested.merged));
  for (const Era& era : eras_) {
    KDBG_RETURN_IF_ERROR(
        run_.Say(fmt::format("for {}: {}, because {}", origin_.version, era.text, era.why)));
  }
  BuildCommand command = Make("configure", std::string(kConfigureScript), {BaseName(request_)});
  command.input = ConfigInput(request_, requested);
  KDBG_RETURN_IF_ERROR(run_.Run(command));
  KDBG_ASSIGN_OR_RETURN(const std::string text,
                        Outputs::Read(run_.directories().build, kWorkConfig));
  return VerifyConfig(requested, request_.architecture, ConfigValues::FromText(text),
                      [this] { return LoadKconfig(); });
}

absl::StatusOr<std::optional<std::string>> KernelBuilder::Edit(const std::string& program,
                                                               const BuildTerminal& terminal) {
  const absl::Status status = run_.RunOnTerminal(
      Make(program, std::string(kEditScript), {std::string(kNotSaved), program}), terminal);
  absl::StatusOr<std::string> config =
      Outputs::Read(run_.directories().build, ".config", kMaximumFragments);
  // However the program ended after that.
  if (config.ok() && config->find(kNotSaved) == std::string::npos) return config;
  KDBG_RETURN_IF_ERROR(status);
  KDBG_RETURN_IF_ERROR(config.status());
  return std::nullopt;
}

absl::StatusOr<const Kconfig*> KernelBuilder::LoadKconfig() {
  if (!kconfig_) {
    const std::string directory(traits_.source_directory);
    KDBG_ASSIGN_OR_RETURN(kconfig_,
                          Kconfig::Read("Kconfig", {{"SRCARCH", directory}, {"ARCH", directory}},
                                        [this](const std::string& path) {
                                          return Outputs::Read(run_.directories().source, path);
                                        }));
  }
  return &*kconfig_;
}

absl::StatusOr<BuiltArtifact> KernelBuilder::Build() {
  run_.EnterPhase(BuildPhase::kCompiling);
  KDBG_RETURN_IF_ERROR(Compile());
  const CacheCounts counts = ReadCacheCounts(run_.directories().build);
  run_.SetCacheCounts(counts.hits, counts.misses);
  run_.EnterPhase(BuildPhase::kVerifying);
  KDBG_ASSIGN_OR_RETURN(const VmlinuxFacts facts, Verify());
  KDBG_ASSIGN_OR_RETURN(std::string version,
                        Outputs::Read(run_.directories().build, "include/config/kernel.release"));
  while (!version.empty() && version.back() == '\n') version.pop_back();
  run_.EnterPhase(BuildPhase::kPublishing);
  KDBG_RETURN_IF_ERROR(TakeOutputs());
  KDBG_RETURN_IF_ERROR(TakeMetadata(facts, version));
  return BuiltArtifact{.files = outputs_.files(),
                       .gnu_build_id = facts.gnu_build_id,
                       .version = version,
                       .attributes = {{"config_sha256", config_digest_},
                                      {"base_config", BaseName(request_)},
                                      {store::kUnpacksAttribute, UnpacksOf(config_)},
                                      {store::kDrivesAttribute, DrivesOf(config_)}}};
}

absl::Status KernelBuilder::Compile() {
  KDBG_RETURN_IF_ERROR(
      run_.Run(Make("make", MakeScript(kCompileScript),
                    {std::string(traits_.image_target), std::to_string(run_.jobs())})));
  KDBG_ASSIGN_OR_RETURN(const std::string config,
                        Outputs::Read(run_.directories().build, ".config"));
  config_ = ConfigValues::FromText(config);
  config_digest_ = Sha256Hex(config);
  if (config_.Get("MODULES") != "y") return absl::OkStatus();
  return run_.Run(Make("modules_install", std::string(kModulesScript), {}));
}

absl::StatusOr<VmlinuxFacts> KernelBuilder::Verify() const {
  KDBG_ASSIGN_OR_RETURN(const UniqueFd vmlinux, Outputs::Open(run_.directories().build, "vmlinux"));
  return CheckVmlinux(vmlinux);
}

absl::Status KernelBuilder::TakeOutputs() {
  const std::filesystem::path& build = run_.directories().build;
  KDBG_RETURN_IF_ERROR(outputs_.Take(build, traits_.image_path, std::string(traits_.image_target)));
  KDBG_ASSIGN_OR_RETURN(const UniqueFd vmlinux, Outputs::Open(build, "vmlinux"));
  KDBG_RETURN_IF_ERROR(outputs_.TakeProgram(vmlinux, "vmlinux"));
  KDBG_RETURN_IF_ERROR(outputs_.Take(build, "System.map", "System.map"));
  KDBG_RETURN_IF_ERROR(outputs_.Take(build, ".config", "config"));
  if (config_.Get("MODULES") == "y") KDBG_RETURN_IF_ERROR(TakeModules());
  // Old trees have no such script.
  absl::Status commands = outputs_.Take(build, "compile_commands.json", "compile_commands.json");
  if (!commands.ok() && !absl::IsNotFound(commands)) return commands;
  return TakeGdbScripts();
}

absl::Status KernelBuilder::TakeModules() {
  const std::filesystem::path& build = run_.directories().build;
  absl::Status packed = outputs_.Take(build, ".kdbg/modules.tar", store::kModulesFile);
  if (absl::IsNotFound(packed)) return absl::OkStatus();  // CONFIG_MODULES, but nothing is =m
  KDBG_RETURN_IF_ERROR(packed);
  KDBG_ASSIGN_OR_RETURN(const std::string order, Outputs::Read(build, "modules.order"));
  const std::vector<std::string> modules = ModulesInOrder(order);
  if (modules.size() > kMaximumModules) {
    return InvalidField("config", std::to_string(modules.size()),
                        fmt::format("a build of {} modules is more than the {} that are kept: "
                                    "take some out of the config",
                                    modules.size(), kMaximumModules));
  }
  for (std::string module : modules) {
    absl::StatusOr<UniqueFd> file = Outputs::Open(build, module);
    if (absl::IsNotFound(file.status()) && module.starts_with("kernel/")) {
      module.erase(0, 7);  // as it is called once installed: before 5.3
      file = Outputs::Open(build, module);
    }
    KDBG_RETURN_IF_ERROR(file.status());
    KDBG_RETURN_IF_ERROR(outputs_.TakeProgram(*file, store::kModulesFolder + module));
  }
  return absl::OkStatus();
}

absl::Status KernelBuilder::TakeGdbScripts() {
  const std::filesystem::path& source = run_.directories().source;
  std::error_code error;
  std::vector<std::string> names;
  // A link of the tree's own could list any folder of this host.
  for (const char* folder : {"scripts", "scripts/gdb", "scripts/gdb/linux"}) {
    if (std::filesystem::is_symlink(source / folder, error)) return absl::OkStatus();
  }
  for (std::filesystem::directory_iterator entry(source / "scripts/gdb/linux", error), end;
       !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == ".py") names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const std::string path = "scripts/gdb/linux/" + name;
    KDBG_RETURN_IF_ERROR(outputs_.Take(source, path, path));
  }
  if (names.empty()) return absl::OkStatus();  // before 4.0
  const std::string constants = "scripts/gdb/linux/constants.py";
  KDBG_RETURN_IF_ERROR(outputs_.Take(run_.directories().build, constants, constants));
  return outputs_.Take(source, "scripts/gdb/vmlinux-gdb.py", "vmlinux-gdb.py");
}

absl::Status KernelBuilder::TakeMetadata(const VmlinuxFacts& facts, const std::string& version) {
  std::vector<std::string> arguments = MakeArguments();
  std::string by_hand = "make";
  for (std::string argument : arguments) {
    if (argument == "-C" || argument == "/src") continue;
    by_hand += argument.find(' ') == std::string::npos ? " " + argument : " '" + argument + "'";
  }
  by_hand += fmt::format(" -j{} {} vmlinux scripts_gdb", run_.jobs(), traits_.image_target);
  // A text in quotes; trees before 5.8 do not say.
  std::string compiler(config_.Has("CC_VERSION_TEXT") ? config_.Get("CC_VERSION_TEXT") : "");
  std::erase(compiler, '"');
  JsonObject metadata;
  metadata.Text("kind", "kernel")
      .Text("build", "builds/" + origin_.build_id)
      .Text("source", "sources/" + origin_.source_id)
      .Text("source_origin", origin_.source_text)
      .Text("tree", origin_.tree)
      .Text("version", version)
      .Text("architecture", traits_.name)
      .Text("base_config", BaseName(request_))
      .Text("config_sha256", config_digest_)
      .Text("compiler", compiler)
      .Text("toolchain", toolchain_.identity)
      .Texts("make_arguments", arguments)
      .Texts("era_config", TextsOf(eras_, Era::Kind::kConfig))
      .Text("gnu_build_id", facts.gnu_build_id)
      .Object("start_kernel", JsonObject()
                                  .Text("address", fmt::format("{:#x}", facts.start_kernel))
                                  .Text("file", facts.start_kernel_file)
                                  .Integer("line", facts.start_kernel_line))
      .Object("durations_seconds", DurationsOf(run_))
      .Object("ccache", JsonObject()
                            .Integer("hits", run_.progress().cache_hits)
                            .Integer("misses", run_.progress().cache_misses))
      .Integer("steps", run_.progress().steps_done)
      .Text("by_hand",
            fmt::format("with the tree at /src and this artifact's config as /build/.config: "
                        "cd /src && {}",
                        by_hand));
  return outputs_.TakeBytes(metadata.ToString(), "metadata.json");
}

}  // namespace kdbg::build
