#include "server/observe/metrics_listener.h"

#include <fmt/format.h>
#include <prometheus/exposer.h>

#include <exception>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace kdbg::observe {

MetricsListener::MetricsListener(std::unique_ptr<prometheus::Exposer> exposer)
    : exposer_(std::move(exposer)) {}
MetricsListener::~MetricsListener() = default;

absl::StatusOr<std::unique_ptr<MetricsListener>> MetricsListener::Start(const std::string& address,
                                                                        const Metrics& metrics) {
  // Who asks and then says nothing holds one of two threads, and not for long.
  const std::vector<std::string> options = {"listening_ports",    address, "num_threads", "2",
                                            "request_timeout_ms", "5000"};
  std::unique_ptr<prometheus::Exposer> exposer;
  try {  // the library reports by exception, and not why
    exposer = std::make_unique<prometheus::Exposer>(options);
  } catch (const std::exception&) {
    return absl::UnavailableError(
        fmt::format("metrics.listen: cannot listen on {}: is something else there already (ss -lt "
                    "shows it)? Name another port, or leave it empty",
                    address));
  }
  exposer->RegisterCollectable(metrics.collectable());
  return std::unique_ptr<MetricsListener>(new MetricsListener(std::move(exposer)));
}

int MetricsListener::port() const { return exposer_->GetListeningPorts().front(); }

}  // namespace kdbg::observe
