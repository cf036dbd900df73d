#include "server/build/failure_patterns.h"

#include <fmt/format.h>
#include <re2/re2.h>
#include <re2/set.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <string>
#include <vector>

namespace kdbg::build {
namespace {

// What the group `what` of a pattern names, and so where its package is looked up.
enum class Kind { kText, kProgram, kHeader, kLibrary };

// The first row that matches a line counts. Groups: `file` and `line` are a place in the source,
// `what` goes into the message, `package` is one that the line itself advises.
struct Pattern {
  Weight weight;
  Fault fault;
  Reason reason;
  Kind kind;
  const char* regex;
  const char* message;
};

constexpr char kProgramMissing[] = "this build needs {what}, which the build host does not have";
constexpr char kHeaderMissing[] =
    "this build needs the header {what}, which the build host does "
    "not have";
constexpr char kLibraryMissing[] =
    "this build links with the library {what}, which the build host "
    "does not have in the form wanted";
constexpr char kDoesNotCompile[] = "does not compile: {place}{what}";
constexpr char kDoesNotLink[] = "does not link: {place}{what}";
constexpr char kStopped[] = "make stopped: {place}{what}";

constexpr Pattern kPatterns[] = {
    // The host's limits.
    {Weight::kHostCause, Fault::kHost, Reason::kDiskFull, Kind::kText,
     R"(No space left on device|Disk quota exceeded)",
     "the disk of the build host is full: free some room there, then build again"},
    {Weight::kHostCause, Fault::kHost, Reason::kOutOfMemory, Kind::kText,
     R"(virtual memory exhausted|out of memory allocating|Killed signal terminated program)"
     R"(|Cannot allocate memory)",
     "a compiler ran out of memory: build with less at a time, or give builds more"},
    {Weight::kHostCause, Fault::kHost, Reason::kTooManyProcesses, Kind::kText,
     R"(\bv?fork: (retry: )?Resource temporarily unavailable)",
     "the build started more processes than one build may have"},

    // What is not installed.
    {Weight::kCause, Fault::kHost, Reason::kMissingTool, Kind::kProgram,
     R"(^[^ ]+: (?:(?:line )?\d+: )?(?P<what>[\w.+-]+): (?:command )?not found$)", kProgramMissing},
    {Weight::kCause, Fault::kHost, Reason::kMissingTool, Kind::kProgram,
     R"(^make(?:\[\d+\])?: (?P<what>[\w.+-]+): No such file or directory$)", kProgramMissing},
    {Weight::kCause, Fault::kHost, Reason::kMissingTool, Kind::kProgram,
     R"(^(?:/usr/bin/)?env: .(?P<what>[\w.+-]+).: No such file or directory$)", kProgramMissing},
    {Weight::kCause, Fault::kHost, Reason::kMissingTool, Kind::kProgram,
     R"(C compiler '(?:ccache )?(?P<what>[\w.+-]+)' not found)", kProgramMissing},
    {Weight::kCause, Fault::kHost, Reason::kMissingTool, Kind::kProgram,
     R"x(^ccache: error: Could not find compiler "(?P<what>[^"]+)" in PATH)x", kProgramMissing},
    {Weight::kCause, Fault::kHost, Reason::kMissingTool, Kind::kProgram,
     R"(^BTF: .* (?P<what>pahole) \(.*\) is not available)", kProgramMissing},
    {Weight::kCause, Fault::kHost, Reason::kMissingTool, Kind::kText,
     R"((?:\*\*\* |rror: )(?P<what>.*), please install (?P<package>[a-z0-9.+-]+))",
     "this build needs something that the build host does not have: {what}"},
    {Weight::kCause, Fault::kHost, Reason::kMissingTool, Kind::kHeader,
     R"(: fatal error: (?P<what>(?:openssl/|elfutils/|gelf\.h|libelf\.h|gmp\.h|mpc\.h|mpfr\.h)"
     R"(|gcc-plugin\.h|curses\.h|ncurses\.h|zlib\.h|lzma\.h|crypt\.h|selinux/|stdio\.h|stdlib\.h)"
     R"(|linux/limits\.h)[^:]*): No such file)",
     kHeaderMissing},
    {Weight::kCause, Fault::kHost, Reason::kMissingTool, Kind::kLibrary,
     R"(\bld(?:\.\w+)?: cannot find -l(?P<what>[\w.+-]+))", kLibraryMissing},

    {Weight::kCause, Fault::kHost, Reason::kMissingTool, Kind::kLibrary,
     R"(Unable to find the (?P<what>ncurses) (?:package|libraries))",
     "{what} with its headers, which menuconfig is compiled with, is not on the build host"},

    // What an editor of configs needs of its user's terminal.
    {Weight::kCause, Fault::kCaller, Reason::kFieldInvalid, Kind::kText,
     R"(^Your (?:display is too small to run Menu|terminal should have at least ))",
     "the terminal is too small: menuconfig takes 20 lines of 80 columns, so make its window "
     "larger"},
    {Weight::kCause, Fault::kCaller, Reason::kFieldInvalid, Kind::kText,
     R"(^Error opening terminal: (?P<what>[^ ]+)\.$)",
     "the build host does not know terminals of type {what}: set TERM to xterm"},

    // What the config asks for and the source has not.
    {Weight::kCause, Fault::kCaller, Reason::kConfigInvalid, Kind::kText,
     R"(No rule to make target '(?P<what>[^']+)', needed by 'certs/)",
     "the config names the certificate {what}, which is not in the source: add --set "
     "'CONFIG_SYSTEM_TRUSTED_KEYS=\"\"' --set 'CONFIG_SYSTEM_REVOCATION_KEYS=\"\"'"},

    // The source itself.
    {Weight::kCause, Fault::kSubject, Reason::kCompileError, Kind::kText,
     R"(^(?P<file>[^ :<]+):(?P<line>\d+):(?:\d+:)? (?P<what>(?:fatal |internal compiler )?error: .*))",
     kDoesNotCompile},
    {Weight::kCause, Fault::kSubject, Reason::kCompileError, Kind::kText,
     R"(^(?P<file>[^ :<]+):(?P<line>\d+): (?P<what>(?:Fatal )?Error: .*))", kDoesNotCompile},
    {Weight::kCause, Fault::kSubject, Reason::kCompileError, Kind::kText,
     R"(^<command-line>:(?:\d+:)*(?P<what> (?:fatal )?error: .*))",
     "does not compile: <command-line>:{what}"},
    {Weight::kCause, Fault::kSubject, Reason::kCompileError, Kind::kText,
     R"(^(?P<file>[^ :]*Kconfig[^ :]*):(?P<line>\d+): ?(?P<what>(?:error: |syntax error|unknown)"
     R"(|unexpected|invalid|can't open|recursive|missing|multi-line|Unterminated).*))",
     "its Kconfig files cannot be read: {place}{what}"},
    {Weight::kCause, Fault::kSubject, Reason::kBuildFailed, Kind::kText,
     R"(^(?P<file>[^ :]+):(?P<line>\d+): \*\*\* (?P<what>.*))", kStopped},
    {Weight::kTool, Fault::kSubject, Reason::kCompileError, Kind::kText,
     R"(^(?P<what>[\w.+-]*(?:gcc(?:-\d+)?|clang(?:-\d+)?|cc1|as): (?:fatal )?error: .*))",
     kDoesNotCompile},
    {Weight::kCause, Fault::kSubject, Reason::kLinkError, Kind::kText,
     R"(^(?P<file>[^ :]+):(?P<line>\d+): (?P<what>(?:undefined reference|multiple definition).*))",
     kDoesNotLink},
    {Weight::kCause, Fault::kSubject, Reason::kLinkError, Kind::kText,
     R"((?P<what>(?:[^ ]+: in function .*: )?(?:undefined reference to|multiple definition of)"
     R"(|undefined symbol: ).*))",
     kDoesNotLink},
    {Weight::kCause, Fault::kSubject, Reason::kLinkError, Kind::kText,
     R"x(^(?:ERROR|FATAL): (?P<what>modpost: .*|"[^"]+" .*undefined!.*))x", kDoesNotLink},
    {Weight::kCause, Fault::kSubject, Reason::kBuildFailed, Kind::kText,
     R"(^(?P<what>[^ ]+: (?:error: objtool: .*|missing symbol for section .*)))",
     "objtool refuses what was compiled: {what}"},
    {Weight::kTool, Fault::kSubject, Reason::kLinkError, Kind::kText,
     R"((?P<what>\bld(?:\.\w+)?: .*(?:cannot find|error:|failed|relocation).*))", kDoesNotLink},
    {Weight::kTool, Fault::kSubject, Reason::kLinkError, Kind::kText,
     R"(^(?P<what>collect2: (?:fatal )?error: .*))", kDoesNotLink},

    // What make makes of it.
    {Weight::kNone, Fault::kSubject, Reason::kBuildFailed, Kind::kText,
     R"(\*\*\* (?:Waiting for unfinished jobs|(?:\[.*\] )?Deleting )|\(ignored\)$)", ""},
    {Weight::kMakeError, Fault::kSubject, Reason::kBuildFailed, Kind::kText,
     R"(\*\*\* (?P<what>\[.*\] (?:Error \d+|[A-Z][a-z ]+)))", kStopped},
    {Weight::kTool, Fault::kSubject, Reason::kBuildFailed, Kind::kText,
     R"(^make(?:\[\d+\])?: \*\*\* (?P<what>.*))", kStopped},
    {Weight::kHint, Fault::kSubject, Reason::kBuildFailed, Kind::kText,
     R"((?i)^(?P<what>(?:.*[^\w./'-])?(?:error|fatal|failed|cannot|segmentation fault))"
     R"((?:[^\w./'(-].*)?)$)",
     "the build ended with an error; the first line that looks like one: {what}"},
};

// Debian's packages. A name that ends in '/' is a folder of headers, one that begins with '-' the
// end of a name.
struct Package {
  Kind kind;
  std::string_view name;
  std::string_view package;
};
constexpr Package kPackages[] = {
    {Kind::kProgram, "flex", "flex"},
    {Kind::kProgram, "bison", "bison"},
    {Kind::kProgram, "bc", "bc"},
    {Kind::kProgram, "python3", "python3"},
    {Kind::kProgram, "python", "python-is-python3"},
    {Kind::kProgram, "perl", "perl"},
    {Kind::kProgram, "cpio", "cpio"},
    {Kind::kProgram, "lz4", "lz4"},
    {Kind::kProgram, "lz4c", "lz4"},
    {Kind::kProgram, "zstd", "zstd"},
    {Kind::kProgram, "lzop", "lzop"},
    {Kind::kProgram, "xz", "xz-utils"},
    {Kind::kProgram, "lzma", "xz-utils"},
    {Kind::kProgram, "bzip2", "bzip2"},
    {Kind::kProgram, "pahole", "dwarves"},
    {Kind::kProgram, "rsync", "rsync"},
    {Kind::kProgram, "ccache", "ccache"},
    {Kind::kProgram, "make", "make"},
    {Kind::kProgram, "depmod", "kmod"},
    {Kind::kProgram, "openssl", "openssl"},
    {Kind::kProgram, "sparse", "sparse"},
    {Kind::kProgram, "m4", "m4"},
    {Kind::kProgram, "gawk", "gawk"},
    {Kind::kProgram, "mkimage", "u-boot-tools"},
    {Kind::kProgram, "xxd", "xxd"},
    {Kind::kProgram, "gcc", "gcc"},
    {Kind::kProgram, "g++", "g++"},
    {Kind::kProgram, "clang", "clang"},
    {Kind::kProgram, "ld.lld", "lld"},
    {Kind::kProgram, "llvm-ar", "llvm"},
    {Kind::kProgram, "llvm-nm", "llvm"},
    {Kind::kProgram, "llvm-objcopy", "llvm"},
    {Kind::kProgram, "x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"},
    {Kind::kProgram, "aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"},
    {Kind::kProgram, "riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu"},
    {Kind::kHeader, "openssl/", "libssl-dev"},
    {Kind::kHeader, "elfutils/", "libdw-dev"},
    {Kind::kHeader, "selinux/", "libselinux1-dev"},
    {Kind::kHeader, "gelf.h", "libelf-dev"},
    {Kind::kHeader, "libelf.h", "libelf-dev"},
    {Kind::kHeader, "gmp.h", "libgmp-dev"},
    {Kind::kHeader, "mpc.h", "libmpc-dev"},
    {Kind::kHeader, "mpfr.h", "libmpfr-dev"},
    {Kind::kHeader, "gcc-plugin.h", "gcc-12-plugin-dev"},
    {Kind::kHeader, "curses.h", "libncurses-dev"},
    {Kind::kHeader, "ncurses.h", "libncurses-dev"},
    {Kind::kHeader, "zlib.h", "zlib1g-dev"},
    {Kind::kHeader, "lzma.h", "liblzma-dev"},
    {Kind::kHeader, "crypt.h", "libcrypt-dev"},
    {Kind::kHeader, "stdio.h", "libc6-dev"},
    {Kind::kHeader, "stdlib.h", "libc6-dev"},
    {Kind::kHeader, "linux/limits.h", "linux-libc-dev"},
    {Kind::kLibrary, "crypt", "libcrypt-dev"},
    {Kind::kLibrary, "c", "libc6-dev"},
    {Kind::kLibrary, "m", "libc6-dev"},
    {Kind::kLibrary, "rt", "libc6-dev"},
    {Kind::kLibrary, "resolv", "libc6-dev"},
    {Kind::kLibrary, "pthread", "libc6-dev"},
    {Kind::kLibrary, "elf", "libelf-dev"},
    {Kind::kLibrary, "dw", "libdw-dev"},
    {Kind::kLibrary, "crypto", "libssl-dev"},
    {Kind::kLibrary, "ssl", "libssl-dev"},
    {Kind::kLibrary, "z", "zlib1g-dev"},
    {Kind::kLibrary, "lzma", "liblzma-dev"},
    {Kind::kLibrary, "pam", "libpam0g-dev"},
    {Kind::kLibrary, "selinux", "libselinux1-dev"},
    {Kind::kLibrary, "ncurses", "libncurses-dev"},
};

std::string_view PackageOf(Kind kind, std::string_view name) {
  for (const Package& package : kPackages) {
    if (package.kind != kind) continue;
    if (name == package.name) return package.package;
    if (package.name.ends_with('/') && name.starts_with(package.name)) return package.package;
  }
  return {};
}

// All patterns as one automaton, which most lines do not get past, and each with its groups.
struct Compiled {
  Compiled() : any(Options(), RE2::UNANCHORED) {
    for (const Pattern& pattern : kPatterns) {
      any.Add(pattern.regex, nullptr);
      each.push_back(std::make_unique<RE2>(pattern.regex, Options()));
    }
    any.Compile();
  }
  static RE2::Options Options() {
    RE2::Options options;
    options.set_encoding(RE2::Options::EncodingLatin1);  // lines are bytes
    return options;
  }
  RE2::Set any;
  std::vector<std::unique_ptr<RE2>> each;
};

const Compiled& Automaton() {
  static const Compiled compiled;
  return compiled;
}

// "/src/init/main.c" and "./init/main.c" are init/main.c of the source.
std::string SourcePath(std::string_view path) {
  for (std::string_view prefix : {"/src/", "/build/", "../src/", "./"}) {
    if (path.starts_with(prefix)) return std::string(path.substr(prefix.size()));
  }
  return std::string(path);
}

struct Groups {
  std::string file, what, package;
  int line = 0;
};

Groups GroupsOf(const RE2& regex, std::string_view line) {
  std::vector<re2::StringPiece> found(static_cast<std::size_t>(regex.NumberOfCapturingGroups()) +
                                      1);
  Groups groups;
  if (!regex.Match(line, 0, line.size(), RE2::UNANCHORED, found.data(),
                   static_cast<int>(found.size()))) {
    return groups;
  }
  for (const auto& [name, index] : regex.NamedCapturingGroups()) {
    const std::string text(found[static_cast<std::size_t>(index)]);
    if (name == "file") groups.file = SourcePath(text);
    if (name == "what") groups.what = text;
    if (name == "package") groups.package = text;
    // One that is too large to be a line of a file stays 0.
    if (name == "line") std::from_chars(text.data(), text.data() + text.size(), groups.line);
  }
  return groups;
}

}  // namespace

Finding ReadLine(std::string_view line) {
  const Compiled& automaton = Automaton();
  std::vector<int> matches;
  if (!automaton.any.Match(line, &matches) || matches.empty()) return {};
  const auto first = static_cast<std::size_t>(*std::min_element(matches.begin(), matches.end()));
  const Pattern& pattern = kPatterns[first];
  Finding finding{.weight = pattern.weight, .failure = {}};
  if (pattern.weight == Weight::kNone) return finding;
  const Groups groups = GroupsOf(*automaton.each[first], line);
  const std::string place =
      groups.file.empty() ? "" : fmt::format("{}:{}: ", groups.file, groups.line);
  finding.failure.fault = pattern.fault;
  finding.failure.reason = pattern.reason;
  finding.failure.file = groups.file;
  finding.failure.line = groups.line;
  finding.failure.message = fmt::format(fmt::runtime(pattern.message), fmt::arg("place", place),
                                        fmt::arg("what", groups.what));
  if (pattern.reason == Reason::kMissingTool) {
    const std::string_view known = PackageOf(pattern.kind, groups.what);
    const std::string_view package = groups.package.empty() ? known : groups.package;
    finding.failure.message +=
        package.empty() ? ": install it there, or change the config so that it is not needed"
                        : fmt::format(": install its package {} there", package);
  }
  return finding;
}

}  // namespace kdbg::build
