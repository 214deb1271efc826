// Ctrl-C and SIGTERM as something that a thread waits for, instead of code inside a handler.
//
// At most one object at a time. Wait belongs to one thread; Interrupt to any.
#pragma once

#include <cstdint>

namespace emporium::cluster {

class SignalWatch {
 public:
  SignalWatch();
  // Signals have their usual effect again.
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  // Waits until SIGINT or SIGTERM arrives, Interrupt is called, or the time is over (-1: for ever).
  // Returns the number of the signal, or 0.
  int Wait(int64_t timeout_ms);
  // Ends a Wait.
  void Interrupt();
  // Also watch for the end of child processes: Wait then returns SIGCHLD.
  void WatchChildren();

 private:
  int read_fd_;
  int write_fd_;
};

}  // namespace emporium::cluster
