#include "runtime/thrift_server.h"

#include <thrift/TOutput.h>
#include <thrift/protocol/TBinaryProtocol.h>
#include <thrift/server/TThreadedServer.h>
#include <thrift/transport/TServerSocket.h>

#include <thread>
#include <utility>

#include "proto/limits.h"
#include "runtime/log.h"
#include "runtime/thrift_transport.h"

namespace emporium::runtime {
namespace {

using apache::thrift::protocol::TBinaryProtocolFactory;
using apache::thrift::server::TThreadedServer;
using apache::thrift::transport::TServerSocket;
using apache::thrift::transport::TTransport;
using apache::thrift::transport::TTransportException;
using apache::thrift::transport::TTransportFactory;

// Thrift's factory makes transports with a bound of its own choice.
class BoundedFrames final : public TTransportFactory {
 public:
  std::shared_ptr<TTransport> getTransport(std::shared_ptr<TTransport> socket) override {
    return std::make_shared<BoundedFramedTransport>(std::move(socket));
  }
};

// Listens before the server's thread starts, so that an error is known to who started it.
class EarlySocket final : public TServerSocket {
 public:
  using TServerSocket::TServerSocket;
  void listen() override {
    if (!isOpen()) TServerSocket::listen();
  }
};

class Server final : public ThriftServer {
 public:
  Server(std::shared_ptr<control::SchedulerIf> handler, std::shared_ptr<EarlySocket> socket)
      : port_(socket->getPort()),
        server_(std::make_shared<control::SchedulerProcessor>(std::move(handler)),
                std::move(socket), std::make_shared<BoundedFrames>(),
                std::make_shared<TBinaryProtocolFactory>(kMaxThriftMessage, kMaxThriftMessage, true,
                                                         true)) {
    server_.setConcurrentClientLimit(limits::kMaxControlConnections);
    thread_ = std::thread([this] { server_.serve(); });
  }
  ~Server() override { Stop(); }

  int port() const override { return port_; }

  void Stop() override {
    if (!thread_.joinable()) return;
    server_.stop();
    thread_.join();
  }

 private:
  const int port_;
  TThreadedServer server_;
  std::thread thread_;
};

bool IsLoopback(const std::string& host) {
  return host.rfind("127.", 0) == 0 || host == "localhost" || host == "::1";
}

}  // namespace

Result<std::unique_ptr<ThriftServer>> ThriftServer::Start(
    std::shared_ptr<control::SchedulerIf> handler, const std::string& host, int port) {
  const std::string address = host + ":" + std::to_string(port);
  if (!IsLoopback(host)) {
    return FailedPrecondition("cannot listen on " + address +
                              ": links are not authenticated yet; bind 127.0.0.1");
  }
  SendThriftOutputToLog();
  auto socket = std::make_shared<EarlySocket>(host, port);
  try {
    socket->listen();
  } catch (const TTransportException& error) {
    return Unavailable("cannot listen on " + address + ": " + error.what() +
                       "; if the port is in use, `ss -ltnp 'sport = :" + std::to_string(port) +
                       "'` shows by whom: end that program or choose another port");
  }
  return std::unique_ptr<ThriftServer>(
      std::make_unique<Server>(std::move(handler), std::move(socket)));
}

}  // namespace emporium::runtime
