// rpc_load SOCKET CALLERS SECONDS [PAUSE_MS]: so many callers ask for GetServerInfo, each again as
// soon as it is answered or after a pause. Prints how many calls were answered, how many refused,
// and the median and the 99th percentile of the answered ones, in microseconds.
//
// rpc_load SOCKET --unread STREAMS SECONDS: opens streams of activity and reads none of them.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "kdbg/v1/server_service.grpc.pb.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Tally {
  std::mutex mutex;
  std::vector<double> answered_us;
  long refused = 0;
};

// Each caller has a connection of its own, as another program would.
std::unique_ptr<kdbg::v1::ServerService::Stub> Connect(const std::string& socket, int number) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("kdbg.bench.caller", number);
  return kdbg::v1::ServerService::NewStub(
      grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(), arguments));
}

void Call(const std::string& socket, int number, Clock::time_point end,
          std::chrono::milliseconds pause, Tally& tally) {
  const auto stub = Connect(socket, number);
  std::vector<double> answered;
  long refused = 0;
  while (Clock::now() < end) {
    grpc::ClientContext context;
    kdbg::v1::ServerInfo info;
    const auto begin = Clock::now();
    const bool ok = stub->GetServerInfo(&context, {}, &info).ok();
    const std::chrono::duration<double, std::micro> took = Clock::now() - begin;
    ok ? answered.push_back(took.count()) : void(++refused);
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
  }
  const std::lock_guard lock(tally.mutex);
  tally.answered_us.insert(tally.answered_us.end(), answered.begin(), answered.end());
  tally.refused += refused;
}

int LeaveUnread(const std::string& socket, int streams, std::chrono::seconds time) {
  const auto stub = Connect(socket, 0);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<kdbg::v1::Activity>>> readers;
  kdbg::v1::WatchActivityRequest request;
  request.set_follow(true);
  for (int i = 0; i < streams; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    readers.push_back(stub->WatchActivity(contexts.back().get(), request));
  }
  std::printf("{\"streams\": %d}\n", streams);
  std::fflush(stdout);
  std::this_thread::sleep_for(time);
  for (const auto& context : contexts) context->TryCancel();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const std::string socket = argv[1];
  if (std::string(argv[2]) == "--unread") {
    return LeaveUnread(socket, std::atoi(argv[3]), std::chrono::seconds(std::atoi(argv[4])));
  }
  const auto end = Clock::now() + std::chrono::seconds(std::atoi(argv[3]));
  const std::chrono::milliseconds pause(argc > 4 ? std::atoi(argv[4]) : 0);
  Tally tally;
  std::vector<std::thread> callers;
  for (int i = 0; i < std::atoi(argv[2]); ++i) {
    callers.emplace_back([&, i] { Call(socket, i, end, pause, tally); });
  }
  for (std::thread& caller : callers) caller.join();
  std::vector<double>& all = tally.answered_us;
  std::sort(all.begin(), all.end());
  const auto at = [&](double part) {
    return all.empty() ? 0.0
                       : all[static_cast<std::size_t>(part * static_cast<double>(all.size() - 1))];
  };
  std::printf("{\"answered\": %zu, \"refused\": %ld, \"median_us\": %.0f, \"p99_us\": %.0f}\n",
              all.size(), tally.refused, at(0.5), at(0.99));
  return 0;
}
