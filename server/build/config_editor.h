// A kernel's config edited by the source's own menuconfig: in a sandbox, over a terminal whose
// other end a caller holds. Nothing of it stays on the server. It waits in no queue: what it
// computes is a few seconds of one processor.
//
// Thread-safe. Each editor works on a thread of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/build/build_record.h"
#include "server/build/builds.h"
#include "server/host/pty.h"

namespace kdbg::build {

struct ConfigEditorSettings {
  std::filesystem::path directory;  // below one that sandboxes may see; emptied at the start
  int maximum = 16;                 // open at once, of all owners
  int maximum_per_owner = 4;
  absl::Duration idle_limit = absl::Hours(1);
  std::int64_t ccache_limit_mib = 5120;  // as of the owner's builds
};

struct ConfigEditRequest {
  std::string source_id;
  KernelRequest kernel;                 // base, fragments and items to start from
  std::string program = "menuconfig";   // or nconfig: make's target
  std::string terminal_type = "xterm";  // TERM
  host::TerminalSize size;
};

// The caller's end of one editor; destroying it ends the program at once.
class ConfigEditor {
 public:
  ~ConfigEditor();
  ConfigEditor(const ConfigEditor&) = delete;
  ConfigEditor& operator=(const ConfigEditor&) = delete;

  // False while what was typed before has not gone to the program: again after `changed`.
  [[nodiscard]] bool Type(std::string_view keys);
  void Resize(host::TerminalSize size);
  // What was printed and not yet taken, at most this much; the program waits when it is not taken.
  std::string TakeOutput(std::size_t max_bytes);

  // When all is over: the config that was saved, nullopt when the program was left without saving,
  // or what went wrong. FAILED_PRECONDITION (kMissingTool): this host lacks what the program is
  // compiled with. DEADLINE_EXCEEDED (kIdle): nobody typed. CANCELLED at the end of the daemon.
  // Otherwise as of a build.
  using Result = absl::StatusOr<std::optional<std::string>>;
  std::optional<Result> result() const;

 private:
  friend class ConfigEditors;
  struct Work;
  ConfigEditor(std::shared_ptr<Work> work, std::stop_source stop);

  const std::shared_ptr<Work> work_;
  std::stop_source stop_;
};

class ConfigEditors {
 public:
  static absl::StatusOr<std::unique_ptr<ConfigEditors>> Open(const BuildParts& parts,
                                                             const ConfigEditorSettings& settings);
  // Ends those that run.
  ~ConfigEditors();

  // Answers at once; checkout and configuration are the editor's own. `changed` when there is
  // output, room to type, or a result; also while the editor is being made. Codes as CreateBuild
  // says; RESOURCE_EXHAUSTED (kTooManyCalls) when too many are open.
  absl::StatusOr<std::unique_ptr<ConfigEditor>> Start(std::string_view owner,
                                                      const ConfigEditRequest& request,
                                                      std::function<void()> changed);

 private:
  struct Running {
    std::shared_ptr<ConfigEditor::Work> work;
    std::jthread thread;
  };

  ConfigEditors(const BuildParts& parts, const ConfigEditorSettings& settings);
  absl::Status MakeRoom(std::string_view owner) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const BuildParts parts_;
  const ConfigEditorSettings settings_;
  absl::Mutex mutex_;
  std::list<Running> running_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kdbg::build
