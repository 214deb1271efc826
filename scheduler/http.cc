#include "scheduler/http.h"

#include <httplib.h>
#include <sys/socket.h>

#include <latch>
#include <thread>
#include <utility>

namespace emporium::scheduler {
namespace {

constexpr size_t kThreads = 4;
constexpr size_t kMaxRequestBytes = 64 << 10;  // no request has a body
constexpr int kTimeoutSeconds = 5;

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

class HttplibServer final : public HttpServer {
 public:
  ~HttplibServer() override { Stop(); }

  Status Listen(const std::string& host, int port, Text status_json, Text metrics_text) {
    server_.new_task_queue = [this] {
      running_.count_down();  // asked for once the server runs, from when on stop() has an effect
      return new httplib::ThreadPool(kThreads);  // allowed: the library owns it
    };
    server_.set_tcp_nodelay(true);
    server_.set_payload_max_length(kMaxRequestBytes);
    server_.set_read_timeout(kTimeoutSeconds, 0);
    server_.set_write_timeout(kTimeoutSeconds, 0);
    // The library's own options let two processes share a port, each getting some requests.
    server_.set_socket_options([](socket_t socket) {
      const int yes = 1;
      ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    });
    server_.Get("/status", [text = std::move(status_json)](const auto&, httplib::Response& r) {
      r.set_content(text(), "application/json");
    });
    server_.Get("/metrics", [text = std::move(metrics_text)](const auto&, httplib::Response& r) {
      r.set_content(text(), "text/plain; version=0.0.4");
    });
    server_.Get("/healthz",
                [](const auto&, httplib::Response& r) { r.set_content("ok\n", "text/plain"); });
    port_ = port == 0 ? server_.bind_to_any_port(host) : port;
    const bool bound = port == 0 ? port_ > 0 : server_.bind_to_port(host, port);
    if (!bound) {
      return Unavailable("cannot listen on " + host + ":" + std::to_string(port) +
                         ": the port is in use, or it needs a right that this process has not; "
                         "choose another, or see who has it with `ss -ltnp`");
    }
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    running_.wait();
    return Status::Ok();
  }

  int port() const override { return port_; }

  void Stop() override {
    server_.stop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  httplib::Server server_;
  std::latch running_{1};
  std::thread thread_;
  int port_ = 0;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& host, int port,
                                                      Text status_json, Text metrics_text) {
  if (!IsLoopback(host)) {
    return FailedPrecondition("the status page would be open to others on " + host +
                              "; only loopback addresses such as 127.0.0.1 are allowed");
  }
  if (port < 0 || port > 65535) {
    return InvalidArgument("port " + std::to_string(port) + " is none; ports go from 0 to 65535");
  }
  auto server = std::make_unique<HttplibServer>();
  EMPORIUM_RETURN_IF_ERROR(
      server->Listen(host, port, std::move(status_json), std::move(metrics_text)));
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace emporium::scheduler
