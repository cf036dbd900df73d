#include "server/build/failure_diagnosis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "proto/support/status_macros.h"

namespace kdbg::build {
namespace {

constexpr std::size_t kLinesBefore = 10;
constexpr int kLinesAfter = 10;
constexpr std::size_t kLongestLine = 400;

struct MissingTool {
  std::string_view mark;  // as in the log
  std::string_view tool;
  std::string_view package;
};
constexpr MissingTool kMissingHeaders[] = {
    {"gelf.h", "libelf headers", "libelf-dev"},
    {"libelf.h", "libelf headers", "libelf-dev"},
    {"openssl/", "OpenSSL headers", "libssl-dev"},
    {"gmp.h", "GMP headers", "libgmp-dev"},
    {"mpc.h", "MPC headers", "libmpc-dev"},
    {"gcc-plugin.h", "gcc plugin headers", "gcc-12-plugin-dev"},
};
constexpr MissingTool kMissingPrograms[] = {
    {"flex", "flex", "flex"},
    {"bison", "bison", "bison"},
    {"bc", "bc", "bc"},
    {"python3", "python3", "python3"},
    {"perl", "perl", "perl"},
    {"cpio", "cpio", "cpio"},
    {"lz4", "lz4", "lz4"},
    {"lz4c", "lz4", "lz4"},
    {"zstd", "zstd", "zstd"},
    {"lzop", "lzop", "lzop"},
    {"xz", "xz", "xz-utils"},
    {"bzip2", "bzip2", "bzip2"},
    {"pahole", "pahole", "dwarves"},
    {"rsync", "rsync", "rsync"},
    {"gcc", "gcc", "gcc"},
    {"ccache", "ccache", "ccache"},
    {"make", "make", "make"},
    {"kmod", "kmod", "kmod"},
    {"depmod", "depmod", "kmod"},
    {"openssl", "openssl", "openssl"},
    {"m4", "m4", "m4"},
    {"gawk", "gawk", "gawk"},
};

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// "/src/init/main.c" and "./init/main.c" are init/main.c of the source.
std::string SourcePath(std::string_view path) {
  for (std::string_view prefix : {"/src/", "/build/", "../src/", "./"}) {
    if (path.starts_with(prefix)) return std::string(path.substr(prefix.size()));
  }
  return std::string(path);
}

struct Place {
  std::string file;
  int line = 0;
  std::string_view rest;
};

// "FILE:LINE[:COLUMN]: rest".
std::optional<Place> ReadPlace(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0 || colon > 300) return std::nullopt;
  const std::string_view file = line.substr(0, colon);
  if (Contains(file, " ") || !Contains(file, ".")) {
    if (!Contains(file, "Kconfig")) return std::nullopt;
    if (Contains(file, " ")) return std::nullopt;
  }
  Place place;
  place.file = SourcePath(file);
  std::string_view rest = line.substr(colon + 1);
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), place.line);
  if (error != std::errc()) return std::nullopt;
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  if (!rest.starts_with(':')) return std::nullopt;
  rest.remove_prefix(1);
  int column = 0;
  const auto [column_end, column_error] =
      std::from_chars(rest.data(), rest.data() + rest.size(), column);
  if (column_error == std::errc() && column_end != rest.data() + rest.size() &&
      *column_end == ':') {
    rest.remove_prefix(static_cast<std::size_t>(column_end - rest.data()) + 1);
  }
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  place.rest = rest;
  return place;
}

BuildFailure Failure(Fault fault, Reason reason, std::string message) {
  BuildFailure failure;
  failure.fault = fault;
  failure.reason = reason;
  failure.message = std::move(message);
  return failure;
}

FailureDiagnosis::Finding Missing(const MissingTool& missing) {
  return {FailureDiagnosis::Weight::kCause,
          Failure(Fault::kHost, Reason::kMissingTool,
                  fmt::format("this build needs {}, which the build host does not have: install "
                              "its package {} there",
                              missing.tool, missing.package))};
}

std::optional<FailureDiagnosis::Finding> HostCause(std::string_view line) {
  using Weight = FailureDiagnosis::Weight;
  if (Contains(line, "No space left on device") || Contains(line, "Disk quota exceeded")) {
    return FailureDiagnosis::Finding{
        Weight::kHostCause,
        Failure(Fault::kHost, Reason::kDiskFull,
                "the disk of the build host is full: free some room there, then build again")};
  }
  if (Contains(line, "virtual memory exhausted") || Contains(line, "out of memory allocating") ||
      (Contains(line, "Killed signal terminated program")) ||
      Contains(line, "Cannot allocate memory")) {
    return FailureDiagnosis::Finding{
        Weight::kHostCause,
        Failure(Fault::kHost, Reason::kOutOfMemory,
                "a compiler ran out of memory: build with less at a time, or give builds more")};
  }
  if (Contains(line, "fork: retry: Resource temporarily unavailable") ||
      Contains(line, "vfork: Resource temporarily unavailable")) {
    return FailureDiagnosis::Finding{
        Weight::kHostCause, Failure(Fault::kHost, Reason::kTooManyProcesses,
                                    "the build started more processes than one build may have")};
  }
  return std::nullopt;
}

// "/bin/sh: 1: flex: not found", "make[2]: bc: No such file or directory".
std::optional<FailureDiagnosis::Finding> MissingProgram(std::string_view line) {
  std::string_view head;
  for (std::string_view tail :
       {": not found", ": command not found", ": No such file or directory"}) {
    if (line.ends_with(tail)) head = line.substr(0, line.size() - tail.size());
  }
  if (head.empty() || (!line.starts_with("/bin/sh:") && !line.starts_with("make") &&
                       !line.starts_with("sh:") && !Contains(line, ".sh: "))) {
    return std::nullopt;
  }
  const std::size_t colon = head.rfind(": ");
  const std::string_view program = colon == std::string_view::npos ? head : head.substr(colon + 2);
  for (const MissingTool& missing : kMissingPrograms) {
    if (program == missing.mark) return Missing(missing);
  }
  if (program.ends_with("-gcc") && !Contains(program, "/")) {
    MissingTool compiler{.mark = {}, .tool = program, .package = "with that compiler"};
    return Missing(compiler);
  }
  return std::nullopt;
}

// An error in what -D on the command line put there: the place follows in a note.
bool IsCommandLineError(std::string_view line) {
  return line.starts_with("<command-line>: ") && Contains(line.substr(0, 30), "error: ");
}

// The place in a line that says where a macro was used.
std::optional<Place> ReadExpansion(std::string_view line) {
  auto place = ReadPlace(line);
  if (!place || !place->rest.starts_with("note: in expansion of macro")) return std::nullopt;
  return place;
}

std::optional<FailureDiagnosis::Finding> CompilerError(std::string_view line) {
  using Weight = FailureDiagnosis::Weight;
  if (IsCommandLineError(line)) {
    return FailureDiagnosis::Finding{
        Weight::kCause,
        Failure(Fault::kSubject, Reason::kCompileError, fmt::format("does not compile: {}", line))};
  }
  const auto place = ReadPlace(line);
  if (!place) return std::nullopt;
  std::string_view text;
  for (std::string_view mark : {"error: ", "fatal error: ", "Error: ", "internal compiler error: ",
                                "syntax error", "Unterminated string", "*** "}) {
    if (!place->rest.starts_with(mark)) continue;
    text = place->rest;
    break;
  }
  if (text.empty()) {
    if (!Contains(place->rest, "undefined reference to") &&
        !Contains(place->rest, "multiple definition of")) {
      return std::nullopt;
    }
    BuildFailure failure =
        Failure(Fault::kSubject, Reason::kLinkError,
                fmt::format("does not link: {}:{}: {}", place->file, place->line, place->rest));
    failure.file = place->file;
    failure.line = place->line;
    return FailureDiagnosis::Finding{Weight::kCause, std::move(failure)};
  }
  if (text.starts_with("fatal error: ") && Contains(text, "No such file or directory")) {
    for (const MissingTool& missing : kMissingHeaders) {
      if (text.substr(13).starts_with(missing.mark)) return Missing(missing);
    }
  }
  BuildFailure failure =
      Failure(Fault::kSubject, Reason::kCompileError,
              fmt::format("does not compile: {}:{}: {}", place->file, place->line, text));
  failure.file = place->file;
  failure.line = place->line;
  return FailureDiagnosis::Finding{Weight::kCause, std::move(failure)};
}

std::optional<FailureDiagnosis::Finding> LinkerError(std::string_view line) {
  using Weight = FailureDiagnosis::Weight;
  const bool linker =
      Contains(line, "ld: ") || line.starts_with("ld.") || line.starts_with("collect2: error");
  const bool undefined = Contains(line, "undefined reference to") ||
                         Contains(line, "multiple definition of") ||
                         (line.starts_with("ERROR: modpost:") && Contains(line, "undefined!"));
  if (!undefined && !(linker && (Contains(line, "cannot find") || Contains(line, "error:") ||
                                 Contains(line, "failed") || Contains(line, "relocation")))) {
    return std::nullopt;
  }
  // "ld: init/main.o: in function `f':" and "main.c:(.text+0x12): undefined reference" name
  // objects.
  const Weight weight = undefined ? Weight::kCause : Weight::kTool;
  return FailureDiagnosis::Finding{
      weight, Failure(Fault::kSubject, Reason::kLinkError, fmt::format("does not link: {}", line))};
}

// "make[3]: *** [/src/scripts/Makefile.build:250: init/main.o] Error 1".
std::optional<FailureDiagnosis::Finding> MakeStopped(std::string_view line) {
  using Weight = FailureDiagnosis::Weight;
  const std::size_t stars = line.find("*** ");
  if (stars == std::string_view::npos) return std::nullopt;
  const std::string_view text = line.substr(stars + 4);
  if (text.starts_with("Waiting for unfinished jobs")) return std::nullopt;
  const bool chain = text.starts_with('[') && Contains(text, "] Error ");
  return FailureDiagnosis::Finding{
      chain ? Weight::kMakeError : Weight::kTool,
      Failure(Fault::kSubject, Reason::kBuildFailed, fmt::format("make stopped: {}", text))};
}

}  // namespace

FailureDiagnosis::Finding FailureDiagnosis::Read(std::string_view line) {
  if (line.size() > kLongestLine) line = line.substr(0, kLongestLine);
  if (auto finding = HostCause(line)) return *std::move(finding);
  if (auto finding = MissingProgram(line)) return *std::move(finding);
  if (auto finding = CompilerError(line)) return *std::move(finding);
  if (auto finding = LinkerError(line)) return *std::move(finding);
  if (auto finding = MakeStopped(line)) return *std::move(finding);
  return {};
}

void FailureDiagnosis::Line(std::string_view line) {
  const std::string kept(line.substr(0, kLongestLine));
  Finding finding = Read(kept);
  if (finding.weight > best_.weight) {
    best_ = std::move(finding);
    excerpt_.clear();
    for (const std::string& before : before_) excerpt_ += before + "\n";
    excerpt_ += kept + "\n";
    after_left_ = kLinesAfter;
  } else if (after_left_ > 0) {
    --after_left_;
    excerpt_ += kept + "\n";
    const auto expansion = ReadExpansion(kept);
    BuildFailure& failure = best_.failure;
    if (expansion && failure.reason == Reason::kCompileError && failure.file.empty()) {
      failure.file = expansion->file;
      failure.line = expansion->line;
      failure.message = fmt::format("does not compile: {}:{}: {}", failure.file, failure.line,
                                    failure.message.substr(failure.message.find("error: ")));
    }
  }
  before_.push_back(kept);
  if (before_.size() > kLinesBefore) before_.pop_front();
}

BuildFailure FailureDiagnosis::Verdict() const {
  if (best_.weight == Weight::kNone) {
    BuildFailure failure =
        Failure(Fault::kSubject, Reason::kBuildFailed,
                "make ended with an error that its output does not explain: read the log");
    for (const std::string& line : before_) failure.excerpt += line + "\n";
    return failure;
  }
  BuildFailure failure = best_.failure;
  failure.excerpt = excerpt_;
  return failure;
}

}  // namespace kdbg::build
