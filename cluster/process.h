// Child processes of a launch: started with a log file each, ended with their parent whatever
// happens to it. One thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "proto/status.h"

namespace emporium::cluster {

struct Exit {
  std::string name;
  int code = 0;    // exit code, or -1
  int signal = 0;  // the signal that ended it, or 0

  std::string Describe() const;  // "worker-1 was killed by signal 9"
};

class ProcessGroup {
 public:
  ProcessGroup() = default;
  // Ends what is still running.
  ~ProcessGroup();
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;

  // Starts this same program with `arguments`; its output goes to `log_path`. A child gets its own
  // process group, so that a terminal's Ctrl-C reaches only the launcher, and SIGTERM when the
  // launcher dies. With `ready`, waits for the line that the child writes to the descriptor named
  // by --ready_fd and stores it.
  Status Start(const std::string& name, std::vector<std::string> arguments,
               const std::string& log_path, std::string* ready);
  // The children that have ended since the last call, without waiting.
  std::vector<Exit> Reap();
  bool running(const std::string& name) const;
  size_t running() const { return children_.size(); }
  pid_t pid(const std::string& name) const;
  // Sends a signal to one, if it runs.
  void Signal(const std::string& name, int signal) const;
  // Sends a signal to all that run.
  void SignalAll(int signal) const;

 private:
  struct Child {
    std::string name;
    pid_t pid;
  };
  std::vector<Child> children_;
};

// The last lines of a log file, for an error message.
std::string LastLines(const std::string& path, size_t lines);

}  // namespace emporium::cluster
