// Whether the parts of the daemon can do their work now: for people (ServerInfo), for load
// balancers (grpc.health) and for Prometheus.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace kdbg::observe {

struct PartState {
  std::string name;     // "guests"
  std::string service;  // whose calls need it: "kdbg.v1.SessionService"
  absl::Status status;  // what is wrong, and what to do about it
};

// Thread-safe, as its checks are.
class Health {
 public:
  struct Part {
    std::string name;
    std::string service;
    std::function<absl::Status()> check;  // must not block
  };
  explicit Health(std::vector<Part> parts) : parts_(std::move(parts)) {}

  std::vector<PartState> Now() const {
    std::vector<PartState> states;
    for (const Part& part : parts_) states.push_back({part.name, part.service, part.check()});
    return states;
  }

 private:
  const std::vector<Part> parts_;
};

}  // namespace kdbg::observe
