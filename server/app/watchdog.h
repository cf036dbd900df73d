// The self-check behind systemd's watchdog: it is told that the daemon lives only when every part
// that could stand still has answered.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"

namespace kdbg::app {

class Watchdog {
 public:
  // Has a part call `answered` from the thread that does its work; returns at once.
  struct Part {
    std::string name;  // for the log
    std::function<void(std::function<void()> answered)> ask;
  };

  // `alive` is called on the watchdog's thread once all have answered; a `period` after that they
  // are asked again. While one does not answer nothing is called, and the log says which.
  Watchdog(absl::Duration period, std::vector<Part> parts, std::function<void()> alive);
  // Waits for nobody: an answer may come later.
  ~Watchdog();

 private:
  struct Round;
  void Run(const std::vector<Part>& parts);

  const absl::Duration period_;
  const std::function<void()> alive_;
  const std::shared_ptr<Round> round_;
  std::thread thread_;
};

}  // namespace kdbg::app
