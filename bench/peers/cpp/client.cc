// Calls bench.Echo/Unary with C++ gRPC's callback client in a closed loop, checks what comes back, and prints one line of
// JSON.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "echo.grpc.pb.h"
#include "process.h"

namespace {

struct Load {
  std::unique_ptr<bench::Echo::Stub> stub;
  bench::Msg message;
  std::atomic<long> left{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::condition_variable ended;
  long running = 0;
};

// One caller: starts its next call when its last one ended.
class Caller {
 public:
  explicit Caller(Load* load) : load_(load) {}

  void Next() {
    if (load_->failed || load_->left.fetch_sub(1) <= 0) {
      const std::lock_guard<std::mutex> lock(load_->mutex);
      if (--load_->running == 0) load_->ended.notify_one();
      return;
    }
    context_ = std::make_unique<grpc::ClientContext>();
    load_->stub->async()->Unary(context_.get(), &load_->message, &answer_, [this](grpc::Status status) {
      if (!status.ok() || answer_.payload() != load_->message.payload()) load_->failed = true;
      Next();
    });
  }

 private:
  Load* load_;
  std::unique_ptr<grpc::ClientContext> context_;
  bench::Msg answer_;
};

}  // namespace

int main(int argc, char** argv) {
  const long requests = flag(argc, argv, "requests", 1000);
  const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(flag(argc, argv, "port", 0)),
                                           grpc::InsecureChannelCredentials());
  Load load;
  load.stub = bench::Echo::NewStub(channel);
  load.message.set_payload(std::string(flag(argc, argv, "payload", 20), 'x'));
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) return 1;

  std::vector<std::unique_ptr<Caller>> callers;
  for (long index = 0; index < flag(argc, argv, "concurrency", 1); ++index) {
    callers.push_back(std::make_unique<Caller>(&load));
  }
  load.left = requests;
  load.running = static_cast<long>(callers.size());
  const double cpu = cpu_seconds();
  const auto start = std::chrono::steady_clock::now();
  for (const auto& caller : callers) caller->Next();
  {
    std::unique_lock<std::mutex> lock(load.mutex);
    load.ended.wait(lock, [&load] { return load.running == 0; });
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  if (load.failed) {
    std::fprintf(stderr, "a call failed or came back changed\n");
    return 1;
  }
  std::printf("{\"calls\":%ld,\"seconds\":%.6f,\"client_cpu_seconds\":%.6f}\n", requests, elapsed.count(),
              cpu_seconds() - cpu);
}
