// Messages between one server thread and many clients, over ZeroMQ: tcp:// between processes,
// inproc:// inside one. A message is one block of bytes (a frame of proto/frame.h); its meaning is
// not known here.
//
// A Context may be shared by all threads. A ServerSocket or ClientSocket belongs to the thread that
// made it; only its Waker may be used from other threads, to interrupt a wait.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proto/bytes.h"
#include "proto/status.h"

namespace emporium::runtime {

// A received message: bytes owned by the transport until the object is destroyed. Movable. The
// bytes are 8-byte aligned.
class Message {
 public:
  Message();
  Message(Message&&) noexcept;
  Message& operator=(Message&&) noexcept;
  ~Message();
  std::span<const std::byte> bytes() const;

 private:
  friend class SocketAccess;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Wakes the thread that waits in Wait() of the socket that it was taken from. Any thread; may be
// called after the socket is gone.
class Waker {
 public:
  Waker();
  void Wake() const;
  // File descriptor (eventfd) that becomes readable.
  int fd() const;
  void Drain() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared: a waker may outlive its socket
};

class Context {
 public:
  Context();
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// ROUTER: receives from any peer and answers it.
class ServerSocket {
 public:
  // Binds "tcp://127.0.0.1:0" (port 0: chosen by the system), "tcp://127.0.0.1:7000" or
  // "inproc://name". Unavailable when the port is in use, with the way to see by whom.
  static Result<std::unique_ptr<ServerSocket>> Bind(Context& context, const std::string& endpoint);
  virtual ~ServerSocket() = default;
  // The endpoint with the port that was bound.
  virtual const std::string& endpoint() const = 0;
  virtual Waker waker() const = 0;
  // Receives one message if one is there, else waits up to timeout_ms (-1: for ever) or until
  // woken. Returns false when nothing came. `peer` names the sender for Send.
  virtual bool Receive(std::string& peer, Message& message, int64_t timeout_ms) = 0;
  // Queues bytes for a peer; a peer that is gone or does not read is dropped silently (it will ask
  // again).
  virtual void Send(const std::string& peer, Bytes bytes) = 0;
};

// DEALER sockets to many servers, waited on together.
class ClientSocket {
 public:
  static std::unique_ptr<ClientSocket> Create(Context& context);
  virtual ~ClientSocket() = default;
  virtual Waker waker() const = 0;
  // Connects (again) the numbered peer; an older connection of that number is closed.
  virtual Status Connect(size_t peer, const std::string& endpoint) = 0;
  virtual void Send(size_t peer, Bytes bytes) = 0;
  // As ServerSocket::Receive.
  virtual bool Receive(size_t& peer, Message& message, int64_t timeout_ms) = 0;
};

}  // namespace emporium::runtime
