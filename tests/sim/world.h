// The ground that the simulator stands on: one clock, one queue of events, processes that can be
// killed, stopped and started again, and links between them that delay, lose, repeat and cut off.
// Everything follows from the seed: the same seed gives the same trace.
//
// One thread. An event belongs to a process: a dead one never sees it, a stopped one sees it when
// it goes on.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace emporium::sim {

using Micros = int64_t;
inline constexpr Micros kMs = 1'000;
inline constexpr Micros kSecond = 1'000'000;

class Process {
 public:
  explicit Process(std::string name) : name_(std::move(name)) {}
  virtual ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  const std::string& name() const { return name_; }
  bool alive() const { return alive_; }
  bool stopped() const { return stopped_; }
  int life() const { return life_; }  // counts its starts

 private:
  friend class World;
  const std::string name_;
  bool alive_ = false;
  bool stopped_ = false;
  int life_ = 0;
  std::deque<std::function<void()>> missed_;  // while stopped
};

// Thrown where a process dies in the midst of what it does.
struct Died {};

class World {
 public:
  World(uint64_t seed, bool print) : random_(seed), print_(print) {}

  // -- Time -----------------------------------------------------------------------------------
  Micros now() const { return now_; }
  int64_t now_ms() const { return now_ / kMs; }
  // Of the world itself: what no process can be kept from.
  void After(Micros delay, std::function<void()> event) {
    events_.emplace(std::pair(now_ + delay, next_event_++), std::move(event));
  }
  // Of this life of the process.
  void After(Process* process, Micros delay, std::function<void()> event) {
    After(delay, [this, process, life = process->life_, event = std::move(event)]() mutable {
      if (!process->alive_ || process->life_ != life) return;
      if (process->stopped_) {
        process->missed_.push_back(std::move(event));
      } else {
        Run(process, event);
      }
    });
  }
  // Runs the next event; false when there is none.
  bool Step() {
    if (events_.empty()) return false;
    auto next = events_.begin();
    now_ = next->first.first;
    const std::function<void()> event = std::move(next->second);
    events_.erase(next);
    event();
    return true;
  }

  // -- Chance ---------------------------------------------------------------------------------
  uint64_t Random(uint64_t below) { return random_() % below; }
  Micros Between(Micros from, Micros to) {
    return from + static_cast<Micros>(Random(static_cast<uint64_t>(to - from + 1)));
  }
  bool Chance(double p) { return static_cast<double>(random_() % 1'000'000) < p * 1e6; }

  // -- Processes ------------------------------------------------------------------------------
  void Begin(Process* process) {
    process->alive_ = true;
    process->stopped_ = false;
    process->missed_.clear();
    ++process->life_;
    Note(process->name() + " starts");
  }
  void Kill(Process* process) {
    if (!process->alive_) return;
    process->alive_ = false;
    Note(process->name() + " is killed");
  }
  void Stop(Process* process) {
    if (!process->alive_ || process->stopped_) return;
    process->stopped_ = true;
    Note(process->name() + " is stopped");
  }
  void Continue(Process* process) {
    if (!process->alive_ || !process->stopped_) return;
    process->stopped_ = false;
    Note(process->name() + " goes on");
    while (!process->missed_.empty() && process->alive_ && !process->stopped_) {
      const std::function<void()> event = std::move(process->missed_.front());
      process->missed_.pop_front();
      Run(process, event);
    }
  }
  // Whose event runs; nobody's: the world's.
  const Process* current() const { return current_; }

  // -- Links ----------------------------------------------------------------------------------
  struct Network {
    double loss = 0, repeat = 0;
    double late = 0;  // questions that come when who asked has just given up
    Micros slowest = 2 * kMs;
    std::set<std::pair<const Process*, const Process*>> cut;  // one way
  };
  Network network;

  // What arrives may do so later than what was sent after it.
  void Send(const Process* from, Process* to, const std::function<void()>& deliver) {
    const int copies = network.repeat > 0 && Chance(network.repeat) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      if (network.cut.contains({from, to}) || (network.loss > 0 && Chance(network.loss))) continue;
      After(to, Between(kMs / 10, network.slowest), deliver);
    }
  }

  // A question and its answer, each once or not at all: nothing after `patience`.
  template <class Answer>
  void Ask(Process* from, Process* to, Micros patience,
           std::function<void(std::function<void(Answer)>)> serve,
           std::function<void(std::optional<Answer>)> done) {
    auto open = std::make_shared<bool>(true);
    const auto finish = [from, life = from->life_, open, done](std::optional<Answer> answer) {
      if (from->life_ != life) return;  // whoever asked is dead
      if (std::exchange(*open, false)) done(std::move(answer));
    };
    After(from, patience, [finish] { finish(std::nullopt); });
    auto served = std::make_shared<bool>(false);
    const std::function<void()> deliver = [this, from, to, serve, finish, served] {
      if (std::exchange(*served, true)) return;  // a stream gives nothing twice
      serve([this, from, to, finish](Answer answer) {
        Send(to, from, [finish, answer] { finish(answer); });
      });
    };
    if (network.late > 0 && Chance(network.late)) {
      return After(to, patience + Between(0, 100 * kMs), deliver);
    }
    Send(from, to, deliver);
  }

  // -- The trace ------------------------------------------------------------------------------
  void Note(const std::string& what) {
    const std::string line = std::to_string(now_) + " " + what;
    for (const char c : line) trace_ = (trace_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    if (print_) std::printf("%10.3f ms  %s\n", static_cast<double>(now_) / 1000, what.c_str());
  }
  uint64_t trace_hash() const { return trace_; }

 private:
  void Run(Process* process, const std::function<void()>& event) {
    current_ = process;
    try {
      event();
    } catch (const Died&) {
      Kill(process);
    }
    current_ = nullptr;
  }

  std::mt19937_64 random_;
  const bool print_;
  Micros now_ = 0;
  uint64_t next_event_ = 0;
  const Process* current_ = nullptr;
  std::map<std::pair<Micros, uint64_t>, std::function<void()>> events_;
  uint64_t trace_ = 0xcbf29ce484222325u;
};

}  // namespace emporium::sim
