// A kdbgd that answers from what a test put into FakeState: every service of the contract on a unix
// socket. Stop and Start in the middle of a test are a daemon that restarts.
#pragma once

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "kdbg/v1/artifact_service.grpc.pb.h"
#include "kdbg/v1/build_service.grpc.pb.h"
#include "kdbg/v1/server_service.grpc.pb.h"
#include "kdbg/v1/session_service.grpc.pb.h"
#include "kdbg/v1/source_service.grpc.pb.h"

namespace kdbg::test {

// Guarded by `mutex` once the server runs.
struct FakeState {
  absl::Mutex mutex;
  v1::ServerInfo info;
  v1::Activity activity;  // sent again when `activity_changed`
  bool activity_changed = false;
  v1::DrainRequest drained;  // as Drain was asked
  v1::DrainReport drain_report;

  // Sources: READY at once when the digest is known; other bytes go through uploads.
  std::map<std::string, v1::Source> sources;  // by name
  std::set<std::string> known_digests;
  std::set<std::string> known_objects;               // git ids
  std::vector<v1::Source::GitPack> git_packs;        // as CreateSource was asked
  std::vector<v1::Source::Patched> patched;          // likewise
  std::vector<grpc::Status> create_source_statuses;  // the next calls' answers, while there are
  std::map<std::string, std::string> uploads;        // bytes by name
  std::int64_t break_upload_after = -1;              // once: the stream ends UNAVAILABLE there
  std::vector<std::int64_t> upload_offsets;          // where each stream began
  std::map<std::string, std::string> source_files;   // of every source
  int source_reads = 0;

  // Builds: a watch sends the steps, then waits while `hold_watch`.
  std::map<std::string, v1::Build> builds;  // by name, as Get answers
  std::vector<v1::Build> watch_steps;
  bool hold_watch = false;
  std::vector<v1::CreateBuildRequest> created_builds;
  std::string log;
  grpc::Status create_build_status;

  // A config editor draws "menu" on the alternate screen, shows each key as [key] and each new size
  // as {120x40}, saves on "s", breaks off on "x", and is left by "q".
  std::vector<v1::ConfigureKernelRequest::Start> editor_starts;
  std::string saved_config;
  grpc::Status editor_status;  // not OK: ends before it draws

  std::map<std::string, v1::Artifact> artifacts;
  std::map<std::string, std::string> artifact_files;  // content by path
  int artifact_reads = 0;
  std::vector<std::string> artifact_bases;        // that compressed reads were asked to build on
  std::vector<v1::PruneArtifactsRequest> prunes;  // each answered with all artifacts

  std::map<std::string, v1::Session> sessions;
  std::vector<v1::CreateSessionRequest> created_sessions;
  std::vector<v1::DumpSessionRequest> dumps;
  std::vector<v1::RestoreSessionRequest> restores;
  bool hold_boot = false;  // sessions boot and boot
  grpc::Status create_session_status;
  std::string console;        // what was printed so far
  std::string console_input;  // what the writer typed
  bool end_console = false;   // whether streams end after `console`
  std::string gdb_input;
  bool gdb_took_over = false;
};

class FakeServer {
 public:
  explicit FakeServer(std::string socket);
  ~FakeServer();

  FakeState& state() { return state_; }
  void Start();
  void Stop();

 private:
  FakeState state_;
  const std::string socket_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
};

// One per service; each file has those that belong together.
std::unique_ptr<grpc::Service> NewFakeServerService(FakeState& state);
std::unique_ptr<grpc::Service> NewFakeSourceService(FakeState& state);
std::unique_ptr<grpc::Service> NewFakeBuildService(FakeState& state);
std::unique_ptr<grpc::Service> NewFakeArtifactService(FakeState& state);
std::unique_ptr<grpc::Service> NewFakeSessionService(FakeState& state);

// NOT_FOUND as the real server says it.
grpc::Status NotFound(const std::string& name);

// Blocks while `condition` does not hold and the caller is there.
void AwaitOrCancelled(FakeState& state, grpc::ServerContext* context,
                      const std::function<bool()>& condition);

}  // namespace kdbg::test
