#include "server/service/console_streams.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/contract/error.h"
#include "proto/contract/resource_name.h"
#include "proto/support/status_macros.h"

namespace kdbg::service {
namespace {

constexpr std::size_t kChunkBytes = 64 << 10;

absl::Status Held(const std::string& session, const std::string& holder, std::string_view advice) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kHolderBusy,
                   fmt::format("{} writes to the console of {}: {}", holder,
                               ResourceName(kSessions, session), advice),
                   {{"holder", holder}});
}

// Wakes at each change of the session, its end above all.
Subscription WatchSession(session::Sessions& sessions, const std::string& id, const Waker& waker) {
  return sessions.Subscribe(id, [waker](const session::SessionRecord&) { waker(); });
}

class ConsoleFeed final : public Feed<v1::ConsoleChunk> {
 public:
  ConsoleFeed(Subscription changes, ConsoleReader reader)
      : changes_(std::move(changes)), reader_(std::move(reader)) {}
  absl::StatusOr<Pull> Next(v1::ConsoleChunk* next) override { return reader_.Next(next); }

 private:
  const Subscription changes_;
  ConsoleReader reader_;
};

class WriterTalk final : public ConsoleTalk {
 public:
  WriterTalk(session::Sessions& sessions, std::string id, std::unique_ptr<ConsoleSeats::Seat> seat,
             Subscription changes, ConsoleReader reader)
      : sessions_(sessions),
        id_(std::move(id)),
        use_(sessions.Use(id_)),
        seat_(std::move(seat)),
        changes_(std::move(changes)),
        reader_(std::move(reader)) {}

  absl::StatusOr<Pull> Take(const v1::AttachConsoleRequest& message) override {
    if (seat_->successor()) return Pull::kMessage;  // Next says so
    // A serial line has no size: `resize` is for other terminals.
    if (message.request_case() != v1::AttachConsoleRequest::kInput) return Pull::kMessage;
    const auto input = sessions_.console_input(id_);
    // Typed before there is a guest, or after: as lost as on a line that leads nowhere.
    if (!input.ok()) return Pull::kMessage;
    const absl::Status written = (*input)->Write(message.input());
    // A halted guest does not read; its line overruns, as a real one does.
    if (!written.ok() && !absl::IsResourceExhausted(written) &&
        !absl::IsFailedPrecondition(written)) {
      return written;
    }
    return Pull::kMessage;
  }

  // Standard input at its end; what the guest prints is still wanted.
  Pull HalfClosed() override { return Pull::kWait; }

  absl::StatusOr<Pull> Next(v1::ConsoleChunk* next) override {
    if (const auto successor = seat_->successor()) {
      return Held(id_, *successor, "it was taken over; read only, or take it back");
    }
    if (const std::string notice = NewNotice(); !notice.empty()) {
      next->set_notice(notice);
      return Pull::kMessage;
    }
    return reader_.Next(next);
  }

 private:
  // Of a lease that ends although the console is used: its hard maximum is near.
  std::string NewNotice() {
    const auto now = sessions_.Get(id_);
    const bool soon = now.ok() && now->expires_soon;
    if (std::exchange(warned_, soon) || !soon) return "";
    return fmt::format("{} ends at {}, its hard maximum", ResourceName(kSessions, id_),
                       absl::FormatTime("%H:%M:%S", now->expire_time, absl::LocalTimeZone()));
  }

  session::Sessions& sessions_;
  const std::string id_;
  const std::shared_ptr<const void> use_;
  const std::unique_ptr<ConsoleSeats::Seat> seat_;
  const Subscription changes_;
  ConsoleReader reader_;
  bool warned_ = false;
};

}  // namespace

class ConsoleSeats::OneSeat final : public ConsoleSeats::Seat {
 public:
  OneSeat(ConsoleSeats& seats, std::string session, std::string user, Waker waker)
      : seats_(seats),
        session_(std::move(session)),
        user_(std::move(user)),
        waker_(std::move(waker)) {}

  ~OneSeat() override {
    absl::MutexLock lock(&seats_.mutex_);
    const auto found = seats_.seats_.find(session_);
    if (found != seats_.seats_.end() && found->second == this) seats_.seats_.erase(found);
  }

  std::optional<std::string> successor() const override {
    absl::MutexLock lock(&seats_.mutex_);
    return successor_;
  }

  ConsoleSeats& seats_;
  const std::string session_;
  const std::string user_;
  const Waker waker_;
  std::optional<std::string> successor_;  // guarded by seats_.mutex_
};

absl::StatusOr<std::unique_ptr<ConsoleSeats::Seat>> ConsoleSeats::Sit(const std::string& session,
                                                                      const std::string& user,
                                                                      bool take_over, Waker waker) {
  auto seat = std::make_unique<OneSeat>(*this, session, user, std::move(waker));
  absl::MutexLock lock(&mutex_);
  OneSeat*& place = seats_[session];
  if (place != nullptr) {
    // The lock is given back before the seat that was not taken goes.
    if (!take_over) return Held(session, place->user_, "read only, or take over");
    place->successor_ = user;
    place->waker_();  // only marks its stream as due
  }
  place = seat.get();
  return std::unique_ptr<Seat>(std::move(seat));
}

absl::StatusOr<Pull> ConsoleReader::Open() {
  const absl::StatusOr<std::shared_ptr<guest::ConsoleLog>> log = sessions_.console(id_);
  if (!log.ok()) {
    KDBG_ASSIGN_OR_RETURN(const session::SessionRecord now, sessions_.Get(id_));
    const bool to_come = absl::IsFailedPrecondition(log.status()) && !session::IsFinal(now.state);
    if (to_come && end_ == ConsoleEnd::kSession) return Pull::kWait;
    return log.status();
  }
  log_ = *log;
  if (offset_ < 0) offset_ = std::max<std::int64_t>(log_->size() + offset_, log_->oldest_offset());
  if (end_ == ConsoleEnd::kSession) growth_ = log_->OnGrowth(waker_);
  return Pull::kMessage;
}

absl::StatusOr<Pull> ConsoleReader::Next(v1::ConsoleChunk* next) {
  if (!log_) {
    KDBG_ASSIGN_OR_RETURN(const Pull opened, Open());
    if (opened != Pull::kMessage) return opened;
  }
  if (start_ == ConsoleStart::kOldest) offset_ = std::max(offset_, log_->oldest_offset());
  // Asked before reading: what was printed before the end is then read before the end is seen.
  const absl::StatusOr<session::SessionRecord> now = sessions_.Get(id_);
  const bool over = !now.ok() || session::IsFinal(now->state);
  KDBG_ASSIGN_OR_RETURN(std::string data, log_->Read(offset_, kChunkBytes));
  if (data.empty()) return over || end_ == ConsoleEnd::kPresent ? Pull::kEnd : Pull::kWait;
  next->set_offset_bytes(offset_);
  offset_ += static_cast<std::int64_t>(data.size());
  next->set_data(std::move(data));
  return Pull::kMessage;
}

std::unique_ptr<Feed<v1::ConsoleChunk>> MakeConsoleFeed(session::Sessions& sessions,
                                                        const std::string& id,
                                                        const v1::ReadConsoleRequest& request,
                                                        Waker waker) {
  Subscription changes;
  if (request.follow()) changes = WatchSession(sessions, id, waker);
  ConsoleReader reader(sessions, id, request.offset_bytes(), ConsoleStart::kExact,
                       request.follow() ? ConsoleEnd::kSession : ConsoleEnd::kPresent,
                       std::move(waker));
  return std::make_unique<ConsoleFeed>(std::move(changes), std::move(reader));
}

absl::StatusOr<std::unique_ptr<ConsoleTalk>> MakeConsoleTalk(
    session::Sessions& sessions, ConsoleSeats& seats, const std::string& id,
    const std::string& user, const v1::AttachConsoleRequest::Start& start, Waker waker) {
  KDBG_ASSIGN_OR_RETURN(auto seat, seats.Sit(id, user, start.take_over(), waker));
  Subscription changes = WatchSession(sessions, id, waker);
  ConsoleReader reader(sessions, id, start.offset_bytes(), ConsoleStart::kOldest,
                       ConsoleEnd::kSession, std::move(waker));
  return std::make_unique<WriterTalk>(sessions, id, std::move(seat), std::move(changes),
                                      std::move(reader));
}

}  // namespace kdbg::service
