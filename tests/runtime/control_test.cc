#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "runtime/control_client.h"
#include "runtime/gate.h"
#include "runtime/thread_annotations.h"
#include "runtime/thrift_server.h"

namespace emporium::runtime {
namespace {

class FakeScheduler final : public control::SchedulerNull {
 public:
  void registerNode(control::Registered& result, const control::Registration& r) override {
    if (r.pid < 0) throw RefusedFrom(Stale("old incarnation"));
    result.node = r.pid;
  }
  // Blocks until Release.
  void await(control::Command& result, const control::Report&) override {
    MutexLock lock(mutex_);
    ++waiting_;
    changed_.NotifyAll();
    while (!released_) changed_.Wait(mutex_);
    result.kind = control::CommandKind::STOP;
  }
  void putChunk(int64_t, int64_t, int32_t, bool, int64_t, int64_t,
                const std::string& bytes) override {
    MutexLock lock(mutex_);
    bytes_ += bytes.size();
  }
  void getChunks(std::vector<std::string>& result, int64_t, int64_t, int32_t, bool, int64_t,
                 int64_t from) override {
    result.assign(1, std::string(from, 'x'));
  }
  void Release() {
    MutexLock lock(mutex_);
    released_ = true;
    changed_.NotifyAll();
  }
  void WaitForWaiters(int n) {
    MutexLock lock(mutex_);
    while (waiting_ < n) changed_.Wait(mutex_);
  }
  size_t bytes() {
    MutexLock lock(mutex_);
    return bytes_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int waiting_ EMPORIUM_GUARDED_BY(mutex_) = 0;
  bool released_ EMPORIUM_GUARDED_BY(mutex_) = false;
  size_t bytes_ EMPORIUM_GUARDED_BY(mutex_) = 0;
};

class ControlTest : public testing::Test {
 protected:
  void SetUp() override {
    handler_ = std::make_shared<FakeScheduler>();
    auto server = ThriftServer::Start(handler_, "127.0.0.1", 0);
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(server).value();
    ASSERT_GT(server_->port(), 0);
    client_ = ConnectScheduler("127.0.0.1", server_->port()).value();
  }
  Status Register(int pid) {
    return CallScheduler([&] {
      control::Registration registration;
      registration.pid = pid;
      control::Registered registered;
      client_->registerNode(registered, registration);
      EXPECT_EQ(registered.node, pid);
    });
  }
  std::shared_ptr<FakeScheduler> handler_;
  std::unique_ptr<ThriftServer> server_;
  std::unique_ptr<control::SchedulerIf> client_;
};

TEST_F(ControlTest, CallsAndRefusals) {
  EXPECT_TRUE(Register(7).ok());
  const Status refused = Register(-1);
  EXPECT_EQ(refused.code(), StatusCode::kStale);
  EXPECT_EQ(refused.message(), "old incarnation");
  EXPECT_TRUE(Register(8).ok());
}

TEST_F(ControlTest, ABlockedCallDoesNotHoldUpOthers) {
  std::thread waiter([&] {
    EXPECT_TRUE(CallScheduler([&] {
                  control::Command command;
                  client_->await(command, control::Report());
                  EXPECT_EQ(command.kind, control::CommandKind::STOP);
                }).ok());
  });
  handler_->WaitForWaiters(1);
  EXPECT_TRUE(Register(7).ok());
  handler_->Release();
  waiter.join();
}

TEST_F(ControlTest, ManyLargeMessagesPassAndTooLargeOnesAreRefused) {
  const std::string chunk(6 << 20, 'x');
  for (int i = 0; i < 12; ++i) {  // more in sum than one message may have
    EXPECT_TRUE(CallScheduler([&] { client_->putChunk(1, 1, 0, false, 0, i, chunk); }).ok());
    std::vector<std::string> back;
    EXPECT_TRUE(CallScheduler([&] { client_->getChunks(back, 1, 1, 0, false, 0, 6 << 20); }).ok());
  }
  EXPECT_EQ(handler_->bytes(), 12 * chunk.size());
  const std::string huge(65 << 20, 'x');
  EXPECT_FALSE(CallScheduler([&] { client_->putChunk(1, 1, 0, false, 0, 9, huge); }).ok());
  EXPECT_EQ(handler_->bytes(), 12 * chunk.size());
  EXPECT_TRUE(Register(7).ok());
}

TEST_F(ControlTest, ReconnectsToARestartedServer) {
  EXPECT_TRUE(Register(7).ok());
  const int port = server_->port();
  server_->Stop();
  const Status gone = Register(7);
  EXPECT_EQ(gone.code(), StatusCode::kUnavailable) << gone.ToString();
  server_ = ThriftServer::Start(handler_, "127.0.0.1", port).value();
  EXPECT_TRUE(Register(7).ok());
}

TEST_F(ControlTest, StopEndsIdleConnectionsAndWaitsForCallsInside) {
  EXPECT_TRUE(Register(7).ok());  // leaves an idle connection
  std::thread waiter([&] {
    (void)CallScheduler([&] {
      control::Command command;
      client_->await(command, control::Report());
    });
  });
  handler_->WaitForWaiters(1);
  handler_->Release();
  server_->Stop();
  server_->Stop();
  waiter.join();
}

TEST_F(ControlTest, GarbageDoesNotHurt) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(server_->port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::mt19937 random(5);
  for (int round = 0; round < 10; ++round) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    std::vector<uint8_t> garbage(500);
    for (auto& byte : garbage) byte = static_cast<uint8_t>(random());
    // Odd rounds: a frame length that is allowed, then nonsense inside.
    if (round % 2 == 1) garbage[0] = garbage[1] = garbage[2] = 0;
    [[maybe_unused]] auto sent = ::send(fd, garbage.data(), garbage.size(), MSG_NOSIGNAL);
    ::close(fd);
  }
  EXPECT_TRUE(Register(7).ok());
}

TEST_F(ControlTest, RefusesBadAddresses) {
  auto open = ThriftServer::Start(handler_, "0.0.0.0", 0);
  EXPECT_EQ(open.status().code(), StatusCode::kFailedPrecondition);
  auto taken = ThriftServer::Start(handler_, "127.0.0.1", server_->port());
  EXPECT_EQ(taken.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(taken.status().message().find("ss -ltnp"), std::string::npos);
  EXPECT_EQ(ConnectScheduler("127.0.0.1", 0).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ConnectScheduler("", 1).status().code(), StatusCode::kInvalidArgument);
}

TEST(ControlRoute, RoundTripAndBadRoutes) {
  Route route;
  route.version = RouteVersion(9);
  route.shard_of_partition = EvenAssignment(8, 3);
  route.endpoint_of_shard = {"a", "b", "c"};
  const control::Route good = RouteToControl(route);
  auto back = RouteFromControl(good);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->version, route.version);
  EXPECT_EQ(back->shard_of_partition, route.shard_of_partition);
  EXPECT_EQ(back->endpoint_of_shard, route.endpoint_of_shard);
  control::Route bad = good;
  bad.shard_of_partition.pop_back();
  EXPECT_FALSE(RouteFromControl(bad).ok());
  bad = good;
  bad.shard_of_partition[0] = 3;
  EXPECT_FALSE(RouteFromControl(bad).ok());
  bad.shard_of_partition[0] = -1;
  EXPECT_FALSE(RouteFromControl(bad).ok());
  EXPECT_FALSE(RouteFromControl(control::Route()).ok());
}

}  // namespace
}  // namespace emporium::runtime
