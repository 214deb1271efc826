#include "cluster/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace emporium::cluster {
namespace {

constexpr int kReadyTimeoutMs = 60'000;

// In the child, between fork and exec: only calls that are safe there.
[[noreturn]] void BecomeChild(const std::vector<char*>& argv, int log_fd, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);  // the parent died before prctl took effect
  dup2(log_fd, STDOUT_FILENO);
  dup2(log_fd, STDERR_FILENO);
  execv("/proc/self/exe", argv.data());
  _exit(127);
}

// One line from a pipe, or an error when the writer ends or takes too long.
Status ReadLine(int fd, std::string* line) {
  while (true) {
    pollfd p{fd, POLLIN, 0};
    const int ready = poll(&p, 1, kReadyTimeoutMs);
    if (ready == 0) return DeadlineExceeded("did not get ready in 60 s");
    if (ready < 0 && errno == EINTR) continue;
    char c;
    const ssize_t got = read(fd, &c, 1);
    if (got <= 0) return Unavailable("ended before it was ready");
    if (c == '\n') return Status::Ok();
    line->push_back(c);
  }
}

}  // namespace

std::string Exit::Describe() const {
  if (signal != 0) return name + " was killed by signal " + std::to_string(signal);
  return name + " ended with exit code " + std::to_string(code);
}

ProcessGroup::~ProcessGroup() {
  SignalAll(SIGKILL);
  for (const Child& child : children_) waitpid(child.pid, nullptr, 0);
}

Status ProcessGroup::Start(const std::string& name, std::vector<std::string> arguments,
                           const std::string& log_path, std::string* ready) {
  const int log_fd = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log_fd < 0) {
    return Unavailable(log_path + ": cannot open the log file: " + std::strerror(errno));
  }
  int pipe_fds[2] = {-1, -1};
  if (ready != nullptr) {
    if (pipe(pipe_fds) != 0) {
      close(log_fd);
      return ResourceExhausted(std::string("cannot make a pipe: ") + std::strerror(errno));
    }
    fcntl(pipe_fds[0], F_SETFD, FD_CLOEXEC);
    arguments.push_back("--ready_fd=" + std::to_string(pipe_fds[1]));
  }
  std::string program = "emporium";
  std::vector<char*> argv = {program.data()};
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeChild(argv, log_fd, parent);
  close(log_fd);
  if (pipe_fds[1] >= 0) close(pipe_fds[1]);
  if (pid < 0) {
    if (pipe_fds[0] >= 0) close(pipe_fds[0]);
    return ResourceExhausted(std::string("cannot start a process: ") + std::strerror(errno));
  }
  children_.push_back({name, pid});
  if (ready == nullptr) return Status::Ok();
  const Status status = ReadLine(pipe_fds[0], ready);
  close(pipe_fds[0]);
  return status.WithContext(name).ok()
             ? Status::Ok()
             : status.WithContext(name).WithContext(LastLines(log_path, 3));
}

std::vector<Exit> ProcessGroup::Reap() {
  std::vector<Exit> exits;
  for (auto it = children_.begin(); it != children_.end();) {
    int state = 0;
    if (waitpid(it->pid, &state, WNOHANG) == it->pid) {
      exits.push_back({it->name, WIFEXITED(state) ? WEXITSTATUS(state) : -1,
                       WIFSIGNALED(state) ? WTERMSIG(state) : 0});
      it = children_.erase(it);
    } else {
      ++it;
    }
  }
  return exits;
}

bool ProcessGroup::running(const std::string& name) const {
  return std::any_of(children_.begin(), children_.end(),
                     [&](const Child& c) { return c.name == name; });
}

pid_t ProcessGroup::pid(const std::string& name) const {
  for (const Child& child : children_) {
    if (child.name == name) return child.pid;
  }
  return -1;
}

void ProcessGroup::Signal(const std::string& name, int signal) const {
  if (const pid_t child = pid(name); child > 0) kill(child, signal);
}

void ProcessGroup::SignalAll(int signal) const {
  for (const Child& child : children_) kill(child.pid, signal);
}

std::string LastLines(const std::string& path, size_t lines) {
  std::ifstream in(path);
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line);) {
    all.push_back(line);
    if (all.size() > lines) all.erase(all.begin());
  }
  std::string joined;
  for (const std::string& line : all) joined += (joined.empty() ? "" : "\n") + line;
  return joined;
}

}  // namespace emporium::cluster
