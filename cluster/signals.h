// Ctrl-C and SIGTERM as something that a thread waits for, instead of code inside a handler.
//
// Make one before any other thread starts: it blocks the signals in the calling thread, and threads
// started later inherit that. Wait may be called by one thread.
#pragma once

#include <cstdint>

namespace emporium::cluster {

class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  // Waits until SIGINT or SIGTERM arrives, Interrupt is called, or the time is over. Returns the
  // number of the signal, or 0.
  int Wait(int64_t timeout_ms);
  // Ends a Wait; any thread.
  void Interrupt();
  // Also watch for the end of child processes: Wait then returns SIGCHLD.
  void WatchChildren();

 private:
  int signal_fd_;
  int event_fd_;
};

}  // namespace emporium::cluster
