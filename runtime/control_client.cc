#include "runtime/control_client.h"

#include <thrift/protocol/TBinaryProtocol.h>
#include <thrift/transport/TSocket.h>

#include <atomic>
#include <bit>
#include <utility>
#include <vector>

#include "proto/limits.h"
#include "runtime/thread_annotations.h"
#include "runtime/thrift_transport.h"

namespace emporium::runtime {
namespace {

using apache::thrift::protocol::TBinaryProtocol;
using apache::thrift::transport::TSocket;
using apache::thrift::transport::TTransportException;

constexpr int kConnectTimeoutMs = 5'000;
constexpr size_t kMaxIdleConnections = 4;

class RemoteScheduler final : public control::SchedulerIf {
 public:
  RemoteScheduler(std::string host, int port) : host_(std::move(host)), port_(port) {}

  void registerNode(control::Registered& result,
                    const control::Registration& registration) override {
    Call([&](auto& client) { client.registerNode(result, registration); });
    if (result.lease_ms > 0) await_timeout_ms_ = result.lease_ms;
  }
  void await(control::Command& result, const control::Report& report) override {
    Call([&](auto& client) { client.await(result, report); }, await_timeout_ms_);
  }
  void putChunk(int64_t node, int64_t incarnation, int32_t stage, bool validation, int64_t step,
                int64_t chunk, const std::string& bytes) override {
    Call([&](auto& client) {
      client.putChunk(node, incarnation, stage, validation, step, chunk, bytes);
    });
  }
  void getChunks(std::vector<std::string>& result, int64_t node, int64_t incarnation, int32_t stage,
                 bool validation, int64_t step, int64_t from_chunk) override {
    Call([&](auto& client) {
      client.getChunks(result, node, incarnation, stage, validation, step, from_chunk);
    });
  }
  void putMetrics(int64_t node, int64_t incarnation, int32_t stage, bool validation, int64_t step,
                  const std::vector<control::Metric>& metrics) override {
    Call([&](auto& client) {
      client.putMetrics(node, incarnation, stage, validation, step, metrics);
    });
  }
  void status(control::JobStatus& result) override {
    Call([&](auto& client) { client.status(result); });
  }
  void requestCheckpoint() override {
    Call([](auto& client) { client.requestCheckpoint(); });
  }
  void requestStop(const std::string& why) override {
    Call([&](auto& client) { client.requestStop(why); });
  }
  void scale(int32_t workers) override {
    Call([&](auto& client) { client.scale(workers); });
  }

 private:
  struct Client {
    std::shared_ptr<TSocket> socket;
    std::unique_ptr<control::SchedulerClient> calls;
  };

  // A connection goes back to the idle ones only after a call that went well (a refusal is one).
  template <class Do>
  void Call(const Do& call, int64_t timeout_ms = limits::kCallTimeoutMs) {
    Client client = Take();
    client.socket->setRecvTimeout(static_cast<int>(timeout_ms));
    try {
      call(*client.calls);
    } catch (const control::Refused&) {
      Keep(std::move(client));
      throw;
    } catch (...) {
      DropIdle();  // the others lead to the same process: they are broken as well
      throw;
    }
    Keep(std::move(client));
  }

  Client Take() EMPORIUM_EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      if (!idle_.empty()) {
        Client client = std::move(idle_.back());
        idle_.pop_back();
        return client;
      }
    }
    // Thrift's own interfaces take shared_ptr.
    auto socket = std::make_shared<TSocket>(host_, port_, ThriftLimits());
    socket->setConnTimeout(kConnectTimeoutMs);
    socket->setSendTimeout(static_cast<int>(limits::kCallTimeoutMs));
    socket->open();
    auto calls = std::make_unique<control::SchedulerClient>(
        std::make_shared<TBinaryProtocol>(std::make_shared<BoundedFramedTransport>(socket),
                                          kMaxThriftMessage, kMaxThriftMessage, true, true));
    return {std::move(socket), std::move(calls)};
  }

  void Keep(Client client) EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (idle_.size() < kMaxIdleConnections) idle_.push_back(std::move(client));
  }

  void DropIdle() EMPORIUM_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    idle_.clear();
  }

  const std::string host_;
  const int port_;
  // An await is answered within a heartbeat; one that takes the whole lease has failed.
  std::atomic<int64_t> await_timeout_ms_ = limits::kCallTimeoutMs;
  Mutex mutex_;
  std::vector<Client> idle_ EMPORIUM_GUARDED_BY(mutex_);
};

}  // namespace

Result<std::unique_ptr<control::SchedulerIf>> ConnectScheduler(const std::string& host, int port) {
  if (host.empty() || port < 1 || port > 65535) {
    return InvalidArgument("the scheduler's address " + host + ":" + std::to_string(port) +
                           " is none; give HOST:PORT with a port from 1 to 65535");
  }
  SendThriftOutputToLog();
  return std::unique_ptr<control::SchedulerIf>(std::make_unique<RemoteScheduler>(host, port));
}

Status CallScheduler(const std::function<void()>& call) {
  try {
    call();
    return Status::Ok();
  } catch (const control::Refused& refused) {
    const bool known = refused.code > 0 && refused.code <= static_cast<int>(StatusCode::kInternal);
    return {known ? static_cast<StatusCode>(refused.code) : StatusCode::kInternal, refused.message};
  } catch (const TTransportException& error) {
    if (error.getType() == TTransportException::TIMED_OUT) {
      return DeadlineExceeded(std::string("no answer from the scheduler: ") + error.what());
    }
    return Unavailable(std::string("cannot reach the scheduler: ") + error.what());
  } catch (const apache::thrift::TException& error) {
    return Internal(std::string("the scheduler failed to answer: ") + error.what());
  }
}

control::Refused RefusedFrom(const Status& status) {
  control::Refused refused;
  refused.code = static_cast<int32_t>(status.code());
  refused.message = status.message();
  return refused;
}

Result<Route> RouteFromControl(const control::Route& route) {
  const size_t partitions = route.shard_of_partition.size();
  const size_t shards = route.endpoint_of_shard.size();
  if (!std::has_single_bit(partitions) || partitions > limits::kMaxPartitions) {
    return InvalidArgument("a route has " + std::to_string(partitions) +
                           " partitions; their number is a power of two");
  }
  if (shards == 0 || shards > limits::kMaxShards) {
    return InvalidArgument("a route has " + std::to_string(shards) + " shards");
  }
  Route result;
  result.version = RouteVersion(static_cast<uint64_t>(route.version));
  result.shard_of_partition.reserve(partitions);
  for (const int32_t shard : route.shard_of_partition) {
    if (shard < 0 || static_cast<size_t>(shard) >= shards) {
      return InvalidArgument("a route names shard " + std::to_string(shard) + " of " +
                             std::to_string(shards));
    }
    result.shard_of_partition.push_back(ShardId(static_cast<uint16_t>(shard)));
  }
  result.endpoint_of_shard = route.endpoint_of_shard;
  return result;
}

control::Route RouteToControl(const Route& route) {
  control::Route result;
  result.version = static_cast<int64_t>(route.version.value());
  result.shard_of_partition.reserve(route.shard_of_partition.size());
  for (const ShardId shard : route.shard_of_partition) {
    result.shard_of_partition.push_back(shard.value());
  }
  result.endpoint_of_shard = route.endpoint_of_shard;
  return result;
}

}  // namespace emporium::runtime
