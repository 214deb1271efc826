// When a child process that died is started again: at once when it had lived for a while, else with
// growing pauses, and not any more when it never lives long by its own fault. A state machine
// without time of its own; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace emporium::cluster {

class Restarts {
 public:
  // A child that lives so long is not broken.
  static constexpr int64_t kLongLifeMs = 10'000;
  static constexpr int64_t kFirstPauseMs = 100;
  // Short lives in a row that it ended itself, after which there is no further one.
  static constexpr int kMaxShortLives = 5;
  static constexpr int64_t kMaxPauseMs = 3'200;

  void Started(const std::string& name, int64_t now_ms);
  // When it is to be started again; nothing: not any more. `killed`: from outside (SIGKILL,
  // SIGTERM), which tells nothing of the program.
  std::optional<int64_t> Died(const std::string& name, bool killed, int64_t now_ms);
  // It is to be started, as if it had died after a long life.
  void Due(const std::string& name, int64_t now_ms) { due_ms_[name] = now_ms; }
  void Forget(const std::string& name) { due_ms_.erase(name); }
  // A name whose time has come (and is not waited for any more), if there is one.
  std::optional<std::string> NextDue(int64_t now_ms);
  bool waiting(const std::string& name) const { return due_ms_.contains(name); }
  // Nobody is started any more.
  void Stop() { due_ms_.clear(); }

 private:
  struct Life {
    int64_t started_ms = 0;
    int short_lives = 0;  // in a row
    int faults = 0;       // of them, those that it ended itself
  };
  std::map<std::string, Life> lives_;
  std::map<std::string, int64_t> due_ms_;
};

}  // namespace emporium::cluster
