// runtime/transport.h over libzmq. ROUTER on the server's side, one DEALER per peer on the
// client's.
//
// What bounds memory: a message may have kMaxFrameBytes, and a peer's pipe kQueuedMessages of them.
// A client has fewer calls in flight than that, so only a peer that does not read loses messages;
// it would ask again.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "proto/check.h"
#include "proto/limits.h"
#include "runtime/transport.h"
#include "runtime/tsan.h"

namespace emporium::runtime {
namespace {

constexpr int kQueuedMessages = 4096;
constexpr int kLingerMs = 500;
constexpr int kReconnectMs = 50;
constexpr int kReconnectMaxMs = 1000;

void SetOption(void* socket, int option, int value) {
  EMPORIUM_CHECK(zmq_setsockopt(socket, option, &value, sizeof(value)) == 0,
                 "libzmq knows this option");
}

struct SocketCloser {
  void operator()(void* socket) const { zmq_close(socket); }
};
using SocketHandle = std::unique_ptr<void, SocketCloser>;

Result<SocketHandle> MakeSocket(void* context, int type) {
  SocketHandle socket(zmq_socket(context, type));
  if (socket == nullptr) {
    return ResourceExhausted(std::string("cannot make a socket: ") + zmq_strerror(zmq_errno()) +
                             "; raise the limit of open files (ulimit -n)");
  }
  const auto limit = static_cast<int64_t>(limits::kMaxFrameBytes);
  EMPORIUM_CHECK(zmq_setsockopt(socket.get(), ZMQ_MAXMSGSIZE, &limit, sizeof(limit)) == 0,
                 "libzmq bounds messages");
  SetOption(socket.get(), ZMQ_SNDHWM, kQueuedMessages);
  SetOption(socket.get(), ZMQ_RCVHWM, kQueuedMessages);
  SetOption(socket.get(), ZMQ_LINGER, kLingerMs);
  SetOption(socket.get(), ZMQ_RECONNECT_IVL, kReconnectMs);
  SetOption(socket.get(), ZMQ_RECONNECT_IVL_MAX, kReconnectMaxMs);
  SetOption(socket.get(), ZMQ_TCP_KEEPALIVE, 1);
  return socket;
}

// A message that will own `bytes` without copying them.
void InitFromVector(zmq_msg_t* message, Bytes bytes) {
  auto owner = std::make_unique<Bytes>(std::move(bytes));
  const auto release = [](void*, void* hint) {
    NoteReceived();
    const std::unique_ptr<Bytes> end(static_cast<Bytes*>(hint));
  };
  void* const data = owner->data();
  const size_t size = owner->size();
  NoteSent();
  EMPORIUM_CHECK(zmq_msg_init_data(message, data, size, release, owner.release()) == 0,
                 "libzmq has memory for a message header");
}

// Whether a TCP endpoint listens on the loopback interface only.
bool IsLoopback(const std::string& endpoint) {
  const std::string host = endpoint.substr(6, endpoint.rfind(':') - 6);
  return host.rfind("127.", 0) == 0 || host == "localhost" || host == "[::1]";
}

bool StartsWith(const std::string& text, const char* prefix) { return text.rfind(prefix, 0) == 0; }

// Time that is left of a wait; negative timeouts mean for ever.
class Deadline {
 public:
  explicit Deadline(int64_t timeout_ms)
      : forever_(timeout_ms < 0),
        end_(std::chrono::steady_clock::now() +
             std::chrono::milliseconds(timeout_ms < 0 ? 0 : timeout_ms)) {}
  long LeftMs() const {
    if (forever_) return -1;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end_ - std::chrono::steady_clock::now());
    return left.count() > 0 ? static_cast<long>(left.count()) : 0;
  }

 private:
  bool forever_;
  std::chrono::steady_clock::time_point end_;
};

}  // namespace

// -- Message -------------------------------------------------------------------------------------

struct Message::Impl {
  Impl() { zmq_msg_init(&message); }
  ~Impl() { zmq_msg_close(&message); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // libzmq keeps short messages inside zmq_msg_t and hands out parts of its receive buffer, at any
  // address. Such messages are small (8 KiB at most) and are copied.
  void Align() {
    const void* const data = zmq_msg_data(&message);
    if (reinterpret_cast<uintptr_t>(data) % 8 == 0) return;
    aligned.resize((zmq_msg_size(&message) + 7) / 8);
    std::memcpy(aligned.data(), data, zmq_msg_size(&message));
  }

  zmq_msg_t message;
  std::vector<uint64_t> aligned;
};

Message::Message() = default;
Message::Message(Message&&) noexcept = default;
Message& Message::operator=(Message&&) noexcept = default;
Message::~Message() = default;

std::span<const std::byte> Message::bytes() const {
  if (impl_ == nullptr) return {};
  const void* const data = impl_->aligned.empty() ? zmq_msg_data(&impl_->message)
                                                  : static_cast<const void*>(impl_->aligned.data());
  return {static_cast<const std::byte*>(data), zmq_msg_size(&impl_->message)};
}

// The sockets' way into a Message.
class SocketAccess {
 public:
  // Receives one part without waiting; false when there is none.
  static bool ReceivePart(void* socket, Message& message) {
    message.impl_ = std::make_unique<Message::Impl>();
    if (zmq_msg_recv(&message.impl_->message, socket, ZMQ_DONTWAIT) < 0) {
      message.impl_.reset();
      return false;
    }
    NoteReceived();
    return true;
  }
  static bool More(const Message& message) { return zmq_msg_more(&message.impl_->message) != 0; }
  static void Align(Message& message) { message.impl_->Align(); }
};

namespace {

// Receives a whole message of `parts` parts; messages of another shape are garbage and skipped.
// The last part is `message`; a first of two parts is `peer`.
bool ReceiveWhole(void* socket, size_t parts, std::string* peer, Message& message) {
  Message part;
  while (SocketAccess::ReceivePart(socket, part)) {
    size_t count = 1;
    while (true) {
      if (count == 1 && parts == 2) {
        const auto bytes = part.bytes();
        peer->assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      }
      if (!SocketAccess::More(part)) break;
      EMPORIUM_CHECK(SocketAccess::ReceivePart(socket, part), "libzmq delivers whole messages");
      ++count;
    }
    if (count != parts) continue;
    SocketAccess::Align(part);
    message = std::move(part);
    return true;
  }
  return false;
}

}  // namespace

// -- Waker ---------------------------------------------------------------------------------------

struct Waker::Impl {
  Impl() : fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    EMPORIUM_CHECK(fd >= 0, "the system gives an eventfd (is the limit of open files reached?)");
  }
  ~Impl() { ::close(fd); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  const int fd;
};

Waker::Waker() : impl_(std::make_shared<Impl>()) {}
int Waker::fd() const { return impl_->fd; }

void Waker::Wake() const {
  const uint64_t one = 1;
  // EAGAIN means that it is awake already, some 2^64 times.
  [[maybe_unused]] const ssize_t written = ::write(impl_->fd, &one, sizeof(one));
}

void Waker::Drain() const {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t read = ::read(impl_->fd, &count, sizeof(count));
}

// -- Context -------------------------------------------------------------------------------------

struct Context::Impl {
  Impl() : context(zmq_ctx_new()) { EMPORIUM_CHECK(context != nullptr, "libzmq starts"); }
  ~Impl() {
    while (zmq_ctx_term(context) != 0 && zmq_errno() == EINTR) {
    }
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  void* const context;
};

Context::Context() : impl_(std::make_unique<Impl>()) {}
Context::~Context() = default;

// -- Server --------------------------------------------------------------------------------------

namespace {

class ZmqServer final : public ServerSocket {
 public:
  ZmqServer(SocketHandle socket, std::string endpoint)
      : socket_(std::move(socket)), endpoint_(std::move(endpoint)) {}
  // libzmq closes a socket a little later, in a thread of its own; the endpoint is free at once.
  ~ZmqServer() override { zmq_unbind(socket_.get(), endpoint_.c_str()); }
  ZmqServer(const ZmqServer&) = delete;
  ZmqServer& operator=(const ZmqServer&) = delete;

  const std::string& endpoint() const override { return endpoint_; }
  Waker waker() const override { return waker_; }

  bool Receive(std::string& peer, Message& message, int64_t timeout_ms) override {
    if (ReceiveWhole(socket_.get(), 2, &peer, message)) return true;
    const Deadline deadline(timeout_ms);
    while (true) {
      zmq_pollitem_t items[] = {{socket_.get(), 0, ZMQ_POLLIN, 0},
                                {nullptr, waker_.fd(), ZMQ_POLLIN, 0}};
      const int ready = zmq_poll(items, 2, deadline.LeftMs());
      if (ready > 0 && (items[0].revents & ZMQ_POLLIN) != 0 &&
          ReceiveWhole(socket_.get(), 2, &peer, message)) {
        return true;
      }
      if (ready > 0 && (items[1].revents & ZMQ_POLLIN) != 0) {
        waker_.Drain();
        return false;
      }
      if (ready <= 0 && deadline.LeftMs() == 0) return false;
    }
  }

  void Send(const std::string& peer, Bytes bytes) override {
    // Without ROUTER_MANDATORY libzmq drops what is for a peer that is gone or too slow.
    if (zmq_send(socket_.get(), peer.data(), peer.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) return;
    zmq_msg_t message;
    InitFromVector(&message, std::move(bytes));
    if (zmq_msg_send(&message, socket_.get(), ZMQ_DONTWAIT) < 0) zmq_msg_close(&message);
  }

 private:
  SocketHandle socket_;
  std::string endpoint_;
  Waker waker_;
};

Status BindError(const std::string& endpoint, int error) {
  if (error == EADDRINUSE) {
    const std::string port = endpoint.substr(endpoint.rfind(':') + 1);
    return Unavailable("cannot listen on " + endpoint +
                       ": the port is in use; `ss -ltnp 'sport = :" + port +
                       "'` shows by whom; end that program or choose another port");
  }
  return InvalidArgument("cannot listen on " + endpoint + ": " + zmq_strerror(error));
}

}  // namespace

Result<std::unique_ptr<ServerSocket>> ServerSocket::Bind(Context& context,
                                                         const std::string& endpoint) {
  if (StartsWith(endpoint, "tcp://")) {
    if (!IsLoopback(endpoint)) {
      return FailedPrecondition("cannot listen on " + endpoint +
                                ": links are not authenticated yet; bind 127.0.0.1");
    }
  } else if (!StartsWith(endpoint, "inproc://")) {
    return InvalidArgument("cannot listen on " + endpoint +
                           ": an endpoint is tcp://127.0.0.1:PORT or inproc://NAME");
  }
  EMPORIUM_ASSIGN_OR_RETURN(SocketHandle socket, MakeSocket(context.impl().context, ZMQ_ROUTER));
  if (zmq_bind(socket.get(), endpoint.c_str()) != 0) return BindError(endpoint, zmq_errno());
  char bound[256] = {};
  size_t size = sizeof(bound);
  EMPORIUM_CHECK(zmq_getsockopt(socket.get(), ZMQ_LAST_ENDPOINT, bound, &size) == 0,
                 "a bound socket knows its endpoint");
  return std::unique_ptr<ServerSocket>(
      std::make_unique<ZmqServer>(std::move(socket), std::string(bound)));
}

// -- Client --------------------------------------------------------------------------------------

namespace {

class ZmqClient final : public ClientSocket {
 public:
  explicit ZmqClient(void* context) : context_(context) { Rebuild(); }

  Waker waker() const override { return waker_; }

  Status Connect(size_t peer, const std::string& endpoint) override {
    EMPORIUM_CHECK(peer < limits::kMaxShards, "peers are shards");
    EMPORIUM_ASSIGN_OR_RETURN(SocketHandle socket, MakeSocket(context_, ZMQ_DEALER));
    // What was sent to the old connection will be asked for again; do not wait for it.
    if (zmq_connect(socket.get(), endpoint.c_str()) != 0) {
      return InvalidArgument("cannot connect to " + endpoint + ": " + zmq_strerror(zmq_errno()));
    }
    if (peer >= sockets_.size()) sockets_.resize(peer + 1);
    sockets_[peer] = std::move(socket);
    Rebuild();
    return Status::Ok();
  }

  void Send(size_t peer, Bytes bytes) override {
    EMPORIUM_CHECK(peer < sockets_.size() && sockets_[peer] != nullptr, "the peer is connected");
    zmq_msg_t message;
    InitFromVector(&message, std::move(bytes));
    // A full pipe drops the message as a broken line would: the caller's deadline sends it again.
    if (zmq_msg_send(&message, sockets_[peer].get(), ZMQ_DONTWAIT) < 0) zmq_msg_close(&message);
  }

  bool Receive(size_t& peer, Message& message, int64_t timeout_ms) override {
    if (TakeReady(peer, message)) return true;
    const Deadline deadline(timeout_ms);
    while (true) {
      const int ready = zmq_poll(items_.data(), static_cast<int>(items_.size()), deadline.LeftMs());
      if (ready > 0) {
        if (TakeReady(peer, message)) return true;
        if ((items_[0].revents & ZMQ_POLLIN) != 0) {
          waker_.Drain();
          items_[0].revents = 0;
          return false;
        }
      } else if (deadline.LeftMs() == 0) {
        return false;
      }
    }
  }

 private:
  // items_[0] is the waker, then one item per connected peer.
  void Rebuild() {
    items_.assign(1, {nullptr, waker_.fd(), ZMQ_POLLIN, 0});
    peer_of_item_.assign(1, 0);
    for (size_t peer = 0; peer < sockets_.size(); ++peer) {
      if (sockets_[peer] == nullptr) continue;
      items_.push_back({sockets_[peer].get(), 0, ZMQ_POLLIN, 0});
      peer_of_item_.push_back(peer);
    }
    next_ = 1;
  }

  // One message of the peers that the last poll found readable, in turn.
  bool TakeReady(size_t& peer, Message& message) {
    for (size_t tried = 1; tried < items_.size(); ++tried) {
      if (next_ >= items_.size()) next_ = 1;
      const size_t item = next_++;
      if ((items_[item].revents & ZMQ_POLLIN) == 0) continue;
      if (ReceiveWhole(items_[item].socket, 1, nullptr, message)) {
        peer = peer_of_item_[item];
        return true;
      }
      items_[item].revents = 0;
    }
    return false;
  }

  void* const context_;
  Waker waker_;
  std::vector<SocketHandle> sockets_;  // by peer; null: not connected
  std::vector<zmq_pollitem_t> items_;
  std::vector<size_t> peer_of_item_;
  size_t next_ = 1;
};

}  // namespace

std::unique_ptr<ClientSocket> ClientSocket::Create(Context& context) {
  return std::make_unique<ZmqClient>(context.impl().context);
}

}  // namespace emporium::runtime
