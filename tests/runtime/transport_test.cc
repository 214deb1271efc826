#include "runtime/transport.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <cstring>
#include <random>
#include <thread>

namespace emporium::runtime {
namespace {

Bytes Pattern(size_t size, uint8_t salt) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 31 + salt);
  return bytes;
}

Bytes Copy(const Message& message) { return {message.bytes().begin(), message.bytes().end()}; }

int PortOf(const std::string& endpoint) {
  return std::stoi(endpoint.substr(endpoint.rfind(':') + 1));
}

// Every behaviour holds for both kinds of endpoint.
class TransportTest : public testing::TestWithParam<const char*> {
 protected:
  Context context_;
};

TEST_P(TransportTest, EchoesMessagesOfEverySizeAlignedAndInOrder) {
  auto server = ServerSocket::Bind(context_, GetParam());
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  auto client = ClientSocket::Create(context_);
  ASSERT_TRUE(client->Connect(3, (*server)->endpoint()).ok());
  // Around the sizes where libzmq changes how it keeps a message (33, 8192), many in one go.
  std::vector<size_t> sizes = {0,  1,  7,  8,  24, 25, 29, 30,  31,
                               32, 33, 34, 40, 95, 96, 97, 255, 256};
  for (size_t around : {8192, 65536, 1 << 20}) {
    for (size_t size = around - 3; size <= around + 3; ++size) sizes.push_back(size);
  }
  for (size_t i = 0; i < sizes.size(); ++i) client->Send(3, Pattern(sizes[i], i));
  for (size_t i = 0; i < sizes.size(); ++i) {
    std::string peer;
    Message message;
    ASSERT_TRUE((*server)->Receive(peer, message, 10'000));
    ASSERT_EQ(Copy(message), Pattern(sizes[i], i)) << sizes[i];
    EXPECT_EQ(reinterpret_cast<uintptr_t>(message.bytes().data()) % 8, 0u) << sizes[i];
    (*server)->Send(peer, Copy(message));
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    size_t peer = 0;
    Message message;
    ASSERT_TRUE(client->Receive(peer, message, 10'000));
    EXPECT_EQ(peer, 3u);
    ASSERT_EQ(Copy(message), Pattern(sizes[i], i)) << sizes[i];
    EXPECT_EQ(reinterpret_cast<uintptr_t>(message.bytes().data()) % 8, 0u) << sizes[i];
  }
}

TEST_P(TransportTest, ReceiveEndsByTimeAndByWaker) {
  auto server = ServerSocket::Bind(context_, GetParam());
  ASSERT_TRUE(server.ok());
  auto client = ClientSocket::Create(context_);
  std::string peer;
  size_t number = 0;
  Message message;
  EXPECT_FALSE((*server)->Receive(peer, message, 0));
  EXPECT_FALSE((*server)->Receive(peer, message, 5));
  EXPECT_FALSE(client->Receive(number, message, 5));
  // A wake before the wait counts, and counts once.
  (*server)->waker().Wake();
  (*server)->waker().Wake();
  EXPECT_FALSE((*server)->Receive(peer, message, -1));
  EXPECT_FALSE((*server)->Receive(peer, message, 1));
  std::thread waker([w = client->waker()] { w.Wake(); });
  EXPECT_FALSE(client->Receive(number, message, -1));
  waker.join();
}

TEST_P(TransportTest, ManyClientsAndServersAreToldApart) {
  constexpr size_t kServers = 3;
  std::vector<std::unique_ptr<ServerSocket>> servers;
  for (size_t s = 0; s < kServers; ++s) {
    std::string endpoint = GetParam();
    if (endpoint.rfind("inproc", 0) == 0) endpoint += std::to_string(s);
    auto server = ServerSocket::Bind(context_, endpoint);
    ASSERT_TRUE(server.ok());
    servers.push_back(std::move(server).value());
  }
  std::vector<std::unique_ptr<ClientSocket>> clients;
  for (size_t c = 0; c < 4; ++c) {
    clients.push_back(ClientSocket::Create(context_));
    for (size_t s = 0; s < kServers; ++s) {
      ASSERT_TRUE(clients[c]->Connect(s, servers[s]->endpoint()).ok());
      clients[c]->Send(s, Pattern(100 + s, c));
    }
  }
  for (auto& server : servers) {
    for (size_t c = 0; c < clients.size(); ++c) {
      std::string peer;
      Message message;
      ASSERT_TRUE(server->Receive(peer, message, 10'000));
      server->Send(peer, Copy(message));
    }
    server->Send("nobody", Pattern(10, 0));  // dropped
  }
  for (size_t c = 0; c < clients.size(); ++c) {
    std::vector<bool> seen(kServers);
    for (size_t s = 0; s < kServers; ++s) {
      size_t peer = 0;
      Message message;
      ASSERT_TRUE(clients[c]->Receive(peer, message, 10'000));
      EXPECT_EQ(Copy(message), Pattern(100 + peer, c));
      seen[peer] = true;
    }
    EXPECT_EQ(seen, std::vector<bool>(kServers, true));
  }
}

INSTANTIATE_TEST_SUITE_P(Endpoints, TransportTest,
                         testing::Values("tcp://127.0.0.1:0", "inproc://transport_test"),
                         [](const auto& info) {
                           return std::string(info.param[0] == 't' ? "tcp" : "inproc");
                         });

TEST(Transport, ReconnectsAPeerToANewEndpoint) {
  Context context;
  auto first = ServerSocket::Bind(context, "tcp://127.0.0.1:0");
  auto second = ServerSocket::Bind(context, "tcp://127.0.0.1:0");
  ASSERT_TRUE(first.ok() && second.ok());
  auto client = ClientSocket::Create(context);
  ASSERT_TRUE(client->Connect(0, (*first)->endpoint()).ok());
  ASSERT_TRUE(client->Connect(0, (*second)->endpoint()).ok());
  client->Send(0, Pattern(50, 1));
  std::string peer;
  Message message;
  EXPECT_TRUE((*second)->Receive(peer, message, 10'000));
}

TEST(Transport, PortInUseIsUnavailableAndSaysHowToFindOut) {
  Context context;
  auto first = ServerSocket::Bind(context, "tcp://127.0.0.1:0");
  ASSERT_TRUE(first.ok());
  auto second = ServerSocket::Bind(context, (*first)->endpoint());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kUnavailable);
  EXPECT_NE(second.status().message().find("ss -ltnp"), std::string::npos);
}

TEST(Transport, RefusesAddressesOffLoopbackAndUnknownOnes) {
  Context context;
  for (const char* endpoint : {"tcp://0.0.0.0:0", "tcp://*:0", "tcp://10.0.0.1:7000"}) {
    auto server = ServerSocket::Bind(context, endpoint);
    ASSERT_FALSE(server.ok()) << endpoint;
    EXPECT_EQ(server.status().code(), StatusCode::kFailedPrecondition) << endpoint;
  }
  for (const char* endpoint : {"", "7000", "ipc:///tmp/x", "tcp://127.0.0.1:none"}) {
    auto server = ServerSocket::Bind(context, endpoint);
    ASSERT_FALSE(server.ok()) << endpoint;
    EXPECT_EQ(server.status().code(), StatusCode::kInvalidArgument) << endpoint;
  }
  EXPECT_FALSE(ClientSocket::Create(context)->Connect(0, "nowhere").ok());
}

// Bytes that are not ZeroMQ, and ZeroMQ messages of the wrong shape, do not disturb who speaks
// properly. (Some random bytes are a message of ZeroMQ's first protocol: frames have their own
// check.)
TEST(Transport, GarbageDoesNotHurt) {
  Context context;
  auto server = ServerSocket::Bind(context, "tcp://127.0.0.1:0");
  ASSERT_TRUE(server.ok());
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(PortOf((*server)->endpoint()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::mt19937 random(7);
  for (int round = 0; round < 8; ++round) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    std::vector<uint8_t> garbage(1000 * (round + 1));
    for (auto& byte : garbage) byte = static_cast<uint8_t>(random());
    if (round % 2 == 0) std::memcpy(garbage.data(), "GET / HTTP/1.1\r\n", 16);
    [[maybe_unused]] auto sent = ::send(fd, garbage.data(), garbage.size(), MSG_NOSIGNAL);
    ::close(fd);
  }
  void* zmq = zmq_ctx_new();
  void* odd = zmq_socket(zmq, ZMQ_DEALER);
  ASSERT_EQ(zmq_connect(odd, (*server)->endpoint().c_str()), 0);
  zmq_send(odd, "a", 1, ZMQ_SNDMORE);
  zmq_send(odd, "b", 1, ZMQ_SNDMORE);
  zmq_send(odd, "c", 1, 0);
  zmq_send(odd, "proper", 6, 0);
  std::string peer;
  Message message;
  const auto is_proper = [&message] {
    return message.bytes().size() == 6 && std::memcmp(message.bytes().data(), "proper", 6) == 0;
  };
  do {
    ASSERT_TRUE((*server)->Receive(peer, message, 10'000));
    EXPECT_NE(message.bytes().size(), 1u);
  } while (!is_proper());
  zmq_close(odd);
  zmq_ctx_term(zmq);
}

}  // namespace
}  // namespace emporium::runtime
