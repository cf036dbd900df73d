// The serial console over the wire: reading it from any offset, and the one writer's conversation
// with it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "kdbg/v1/session_service.pb.h"
#include "server/base/subscribers.h"
#include "server/guest/console_input.h"
#include "server/guest/console_log.h"
#include "server/service/duplex_stream.h"
#include "server/session/sessions.h"

namespace kdbg::service {

// Who writes to which console: one at a time. Thread-safe.
class ConsoleSeats {
 public:
  // Leaves when destroyed.
  class Seat {
   public:
    virtual ~Seat() = default;
    // Who took it over, if somebody did.
    virtual std::optional<std::string> successor() const = 0;
  };

  // FAILED_PRECONDITION (kHolderBusy, metadata holder) while another holds it, unless `take_over`;
  // the one before is woken by its `waker` and finds its successor.
  absl::StatusOr<std::unique_ptr<Seat>> Sit(const std::string& session, const std::string& user,
                                            bool take_over, Waker waker);

 private:
  class OneSeat;
  absl::Mutex mutex_;
  std::map<std::string, OneSeat*> seats_ ABSL_GUARDED_BY(mutex_);
};

enum class ConsoleStart {
  kExact,   // an offset that is no longer kept is OUT_OF_RANGE
  kOldest,  // goes on with the oldest byte kept
};
enum class ConsoleEnd { kPresent, kSession };

// Console output of one session; negative offsets count from the end. Waits for a console that is
// not there yet when it goes on to the session's end.
class ConsoleReader {
 public:
  ConsoleReader(const session::Sessions& sessions, std::string id, std::int64_t offset,
                ConsoleStart start, ConsoleEnd end, Waker waker)
      : sessions_(sessions),
        id_(std::move(id)),
        offset_(offset),
        start_(start),
        end_(end),
        waker_(std::move(waker)) {}

  absl::StatusOr<Pull> Next(v1::ConsoleChunk* next);

 private:
  absl::StatusOr<Pull> Open();

  const session::Sessions& sessions_;
  const std::string id_;
  std::int64_t offset_;
  const ConsoleStart start_;
  const ConsoleEnd end_;
  const Waker waker_;
  std::shared_ptr<guest::ConsoleLog> log_;
  Subscription growth_;
};

// ReadConsole.
std::unique_ptr<Feed<v1::ConsoleChunk>> MakeConsoleFeed(session::Sessions& sessions,
                                                        const std::string& id,
                                                        const v1::ReadConsoleRequest& request,
                                                        Waker waker);

// AttachConsole, once the start message has been read and its session found.
using ConsoleTalk = Talk<v1::AttachConsoleRequest, v1::ConsoleChunk>;
absl::StatusOr<std::unique_ptr<ConsoleTalk>> MakeConsoleTalk(
    session::Sessions& sessions, ConsoleSeats& seats, const std::string& id,
    const std::string& user, const v1::AttachConsoleRequest::Start& start, Waker waker);

}  // namespace kdbg::service
