#include "cluster/signals.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "proto/check.h"

namespace emporium::cluster {
namespace {

constexpr unsigned char kInterrupt = 0;

// Where the handler writes the number of the signal. A handler can be given nothing, and blocking
// signals to read them from a descriptor does not reach threads that libraries start before main
// (OpenBLAS does): so this one variable is global. -1: nobody watches.
std::atomic<int> watched_fd = -1;

void Handle(int signal) {
  const int saved = errno;
  const auto number = static_cast<unsigned char>(signal);
  [[maybe_unused]] const ssize_t written = write(watched_fd.load(), &number, 1);
  errno = saved;
}

void Install(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  EMPORIUM_CHECK(sigaction(signal, &action, nullptr) == 0, "cannot install a signal handler");
}

}  // namespace

SignalWatch::SignalWatch() {
  int fds[2];
  EMPORIUM_CHECK(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0, "cannot make a pipe for signals");
  read_fd_ = fds[0];
  write_fd_ = fds[1];
  EMPORIUM_CHECK(watched_fd.exchange(write_fd_) == -1, "signals are watched once");
  Install(SIGINT, Handle);
  Install(SIGTERM, Handle);
}

SignalWatch::~SignalWatch() {
  for (const int signal : {SIGINT, SIGTERM, SIGCHLD}) Install(signal, SIG_DFL);
  watched_fd.store(-1);
  close(read_fd_);
  close(write_fd_);
}

void SignalWatch::WatchChildren() { Install(SIGCHLD, Handle); }

void SignalWatch::Interrupt() {
  [[maybe_unused]] const ssize_t written = write(write_fd_, &kInterrupt, 1);
}

int SignalWatch::Wait(int64_t timeout_ms) {
  pollfd fd = {read_fd_, POLLIN, 0};
  int ready;
  do {
    ready = poll(&fd, 1, static_cast<int>(timeout_ms));
  } while (ready < 0 && errno == EINTR);  // by the very signal, whose number is in the pipe now
  if (ready <= 0) return 0;
  unsigned char number = 0;
  return read(read_fd_, &number, 1) == 1 ? number : 0;
}

}  // namespace emporium::cluster
