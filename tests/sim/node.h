// What servers and workers of the simulator share: they register, keep an await open, take commands
// and report, with the patience of ps/server.cc and worker/worker_node.cc.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "tests/sim/scheduler_host.h"
#include "tests/sim/world.h"

namespace emporium::sim {

class Node : public Process {
 public:
  Node(World* world, SchedulerHost* scheduler, std::string name)
      : Process(std::move(name)), world_(*world), scheduler_(*scheduler) {}

  void Start() {
    world_.Begin(this);
    started_ms_ = world_.now_ms();
    registered_.reset();
    left_ = false;
    BeginLife();
    Register();
  }
  bool left() const { return left_; }

 protected:
  // A new life begins: nothing of the one before is there.
  virtual void BeginLife() = 0;
  virtual control::Registration MakeRegistration() = 0;
  // A command that is newer than all before; STOP is taken care of.
  virtual void Take(const control::Command& command) = 0;
  // Adds what there is to say. seen_sequence stands already.
  virtual void AddToReport(control::Report* report) = 0;
  // The scheduler does not count on this node any more: what is being done is given up.
  virtual void Forgotten() = 0;
  // After each answer, and each failure to get one.
  virtual void Heard(bool answered, Micros asked) = 0;

  // Something is done: said at once, whatever call is open.
  void ReportSoon() {
    if (registered_.has_value()) Await();
  }
  const control::Registered& registered() const { return *registered_; }
  bool is_registered() const { return registered_.has_value(); }
  int64_t seen() const { return seen_; }

  World& world_;
  SchedulerHost& scheduler_;

 private:
  static constexpr Micros kFirstPause = 50 * kMs;

  void Register() {
    using Answer = Result<control::Registered>;
    const control::Registration registration = [this] {
      control::Registration r = MakeRegistration();
      r.host_name = "h";
      r.job_fingerprint = "sim";
      r.name = name();
      r.started_ms = started_ms_;
      return r;
    }();
    world_.Ask<Answer>(
        this, &scheduler_, kSecond,
        [this, registration](const std::function<void(Answer)>& reply) {
          reply(scheduler_.Register(registration));
        },
        [this](std::optional<Answer> answer) {
          if (answer.has_value() && answer->ok()) {
            registered_ = **answer;
            seen_ = 0;
            pause_ = kFirstPause;
            Await();
            return;
          }
          const bool ends =
              answer.has_value() && (answer->status().code() == StatusCode::kCancelled ||
                                     answer->status().code() == StatusCode::kFailedPrecondition);
          if (ends) return Leave(answer->status().message());
          Later([this] { Register(); });
        });
  }

  void Later(std::function<void()> again) {
    world_.After(this, pause_, std::move(again));
    pause_ = std::min<Micros>(2 * pause_, 400 * kMs);
  }

  void Await() {
    const int64_t call = ++calls_;
    control::Report report;
    report.node = registered_->node;
    report.incarnation = registered_->incarnation;
    report.seen_sequence = seen_;
    AddToReport(&report);
    const Micros asked = world_.now();
    using Answer = Result<control::Command>;
    world_.Ask<Answer>(
        this, &scheduler_, 3 * kSecond,
        [this, report](const std::function<void(Answer)>& reply) {
          scheduler_.Await(report, [reply](Result<control::Command> c) { reply(std::move(c)); });
        },
        [this, call, asked](std::optional<Answer> answer) {
          if (left_ || !registered_.has_value()) return;
          if (answer.has_value() && answer->ok()) TakeNewer(**answer);
          if (left_) return;
          Heard(answer.has_value() && answer->ok(), asked);
          if (call != calls_) return;  // another call is open
          if (answer.has_value() && answer->status().code() == StatusCode::kStale) {
            world_.Note(name() + " registers again");
            registered_.reset();
            Forgotten();
            return Register();
          }
          if (answer.has_value() && answer->ok()) {
            pause_ = kFirstPause;
            return Await();
          }
          Later([this, call] {
            if (call == calls_ && registered_.has_value()) Await();
          });
        });
  }

  void TakeNewer(const control::Command& command) {
    if (command.kind == control::CommandKind::WAIT || command.sequence <= seen_) return;
    seen_ = command.sequence;
    if (command.kind == control::CommandKind::STOP) {
      control::Report report;
      report.node = registered_->node;
      report.incarnation = registered_->incarnation;
      report.seen_sequence = report.done_sequence = seen_;
      report.leaving = true;
      world_.Send(this, &scheduler_, [this, report] {
        scheduler_.Await(report, [](const Result<control::Command>&) {});
      });
      return Leave("told to stop");
    }
    Take(command);
  }

  void Leave(const std::string& why) {
    left_ = true;
    world_.Note(name() + " leaves: " + why);
    world_.Kill(this);
  }

  int64_t started_ms_ = 0;
  std::optional<control::Registered> registered_;
  int64_t seen_ = 0;
  int64_t calls_ = 0;
  bool left_ = false;
  Micros pause_ = kFirstPause;
};

}  // namespace emporium::sim
