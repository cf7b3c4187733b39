// bench.Echo on C++ gRPC's callback API with its defaults.
#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <string>

#include "echo.grpc.pb.h"
#include "process.h"

namespace {

class Download final : public grpc::ServerWriteReactor<bench::Msg> {
 public:
  explicit Download(const bench::StreamReq& request) : left_(request.count()), size_(request.size()) { Next(); }
  void OnWriteDone(bool ok) override {
    if (ok) return Next();
    Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the client is gone"));
  }
  void OnDone() override { delete this; }

 private:
  void Next() {
    if (left_ == 0) return Finish(grpc::Status::OK);
    --left_;
    // Made anew each time, as the other servers do.
    message_.set_payload(std::string(size_, '\0'));
    StartWrite(&message_);
  }

  uint32_t left_;
  uint32_t size_;
  bench::Msg message_;
};

class Bidi final : public grpc::ServerBidiReactor<bench::Msg, bench::Msg> {
 public:
  Bidi() { StartRead(&message_); }
  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    StartWrite(&message_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) StartRead(&message_);
    else Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the client is gone"));
  }
  void OnDone() override { delete this; }

 private:
  bench::Msg message_;
};

class Echo final : public bench::Echo::CallbackService {
  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, const bench::Msg* request,
                                  bench::Msg* response) override {
    response->set_payload(request->payload());
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerWriteReactor<bench::Msg>* ServerStream(grpc::CallbackServerContext*,
                                                     const bench::StreamReq* request) override {
    return new Download(*request);
  }
  grpc::ServerBidiReactor<bench::Msg, bench::Msg>* Bidi(grpc::CallbackServerContext*) override {
    return new ::Bidi();
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--version") {
    std::printf("C++ gRPC %s\n", grpc::Version().c_str());
    return 0;
  }
  int port = 0;
  Echo service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(flag(argc, argv, "port", 0)),
                           grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (!server || port == 0) return 1;
  std::printf("listening on 127.0.0.1:%d\n", port);
  std::fflush(stdout);
  server->Wait();
}
