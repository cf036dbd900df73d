// Where Prometheus asks for the metrics: GET /metrics on a port of the loopback, and nothing else.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/observe/metrics.h"

namespace prometheus {
class Exposer;
}

namespace kdbg::observe {

class MetricsListener {
 public:
  // `address` as the configuration has it: "127.0.0.1:9480", port 0 for any that is free.
  //   UNAVAILABLE  it cannot be had
  static absl::StatusOr<std::unique_ptr<MetricsListener>> Start(const std::string& address,
                                                                const Metrics& metrics);
  // Waits for a scrape in progress.
  ~MetricsListener();

  int port() const;

 private:
  explicit MetricsListener(std::unique_ptr<prometheus::Exposer> exposer);
  const std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace kdbg::observe
