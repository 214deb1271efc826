#include "cluster/signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "proto/check.h"

namespace emporium::cluster {
namespace {

sigset_t StopSignals(bool children) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (children) sigaddset(&set, SIGCHLD);
  return set;
}

}  // namespace

SignalWatch::SignalWatch() {
  const sigset_t set = StopSignals(false);
  EMPORIUM_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0, "cannot block signals");
  signal_fd_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  EMPORIUM_CHECK(signal_fd_ >= 0 && event_fd_ >= 0, "cannot make signal descriptors");
}

SignalWatch::~SignalWatch() {
  close(signal_fd_);
  close(event_fd_);
}

void SignalWatch::WatchChildren() {
  const sigset_t set = StopSignals(true);
  EMPORIUM_CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0, "cannot block signals");
  EMPORIUM_CHECK(signalfd(signal_fd_, &set, 0) >= 0, "cannot widen the signal descriptor");
}

void SignalWatch::Interrupt() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof(one));
}

int SignalWatch::Wait(int64_t timeout_ms) {
  pollfd fds[2] = {{signal_fd_, POLLIN, 0}, {event_fd_, POLLIN, 0}};
  if (poll(fds, 2, static_cast<int>(timeout_ms)) <= 0) return 0;
  uint64_t drained;
  if (fds[1].revents != 0) {
    [[maybe_unused]] const ssize_t got = read(event_fd_, &drained, sizeof(drained));
  }
  signalfd_siginfo info;
  if (fds[0].revents != 0 && read(signal_fd_, &info, sizeof(info)) == sizeof(info)) {
    return static_cast<int>(info.ssi_signo);
  }
  return 0;
}

}  // namespace emporium::cluster
