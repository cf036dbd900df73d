// What has to be done now and then and belongs to no request: chores, each with a period, on a
// thread of their own.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace kdbg::app {

struct Chore {
  std::string name;  // for the log
  absl::Duration period;
  // CANCELLED means "not now": it has its turn again after the period, as after any other error.
  std::function<absl::Status(std::stop_token)> run;
};

// When each chore is due: the first time one period after `now`, for a start is busy enough. Not
// thread-safe.
class ChoreSchedule {
 public:
  ChoreSchedule(std::vector<Chore> chores, absl::Duration now);
  // Runs what is due at `now`, in order; errors are logged. When to come back.
  absl::Duration RunDue(absl::Duration now, std::stop_token stop);

 private:
  struct Entry {
    Chore chore;
    absl::Duration due;
  };
  std::vector<Entry> entries_;
};

// Runs them until it goes away, which ends the one that runs.
class Housekeeping {
 public:
  explicit Housekeeping(std::vector<Chore> chores);

 private:
  void Loop(std::stop_token stop, std::vector<Chore> chores);
  std::jthread thread_;
};

}  // namespace kdbg::app
