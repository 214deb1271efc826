// The scheduler as a service: the job machine behind a mutex, its clock, its disk and its state
// store. Nodes reach it in this process as the SchedulerIf that it is, or by Thrift
// (runtime/thrift_server.h).
//
// Any thread may call any method. A call of `await` blocks until there is a newer command for its
// node or the heartbeat time has passed; nothing spins. Before Close returns no call is inside;
// calls that come later are refused.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proto/Scheduler.h"
#include "proto/job.pb.h"
#include "proto/limits.h"
#include "proto/status.h"
#include "runtime/clock.h"
#include "runtime/gate.h"
#include "runtime/queue.h"
#include "runtime/thread_annotations.h"
#include "scheduler/job_machine.h"
#include "scheduler/status.h"

namespace emporium::scheduler {

class SchedulerService final : public control::SchedulerIf {
 public:
  struct Config {
    spec::Job job;
    std::string job_text;     // as the user wrote it, for the manifests
    std::string fingerprint;  // runtime::JobFingerprint
    // Holds state.sqlite and checkpoints/. One scheduler at a time.
    std::string work_dir;
    uint32_t servers = 1, workers = 1;      // that must register before the job begins
    bool exports_only = false;              // see JobMachine::Config
    bool rejoin = false;                    // likewise
    const runtime::Clock* clock = nullptr;  // outlives the service
    int64_t heartbeat_ms = emporium::limits::kHeartbeatMs;
    int64_t lease_ms = emporium::limits::kLeaseMs;
  };

  // Goes on where the newest whole checkpoint and the state store say. Errors: InvalidArgument when
  // work_dir belongs to another job, DataLoss when there are checkpoints and none of them is whole,
  // Busy when another scheduler has work_dir.
  static Result<std::unique_ptr<SchedulerService>> Start(Config config);
  ~SchedulerService() override;

  // Waits until the job is over and its nodes have left: Ok, Cancelled after RequestStop, or why it
  // failed; the message says how to go on.
  Status WaitUntilDone() EMPORIUM_EXCLUDES(mutex_);
  // Waits for at most so long; whether the job is over.
  bool WaitFor(int64_t milliseconds) EMPORIUM_EXCLUDES(mutex_);
  // The first time: finish the step in work, take a checkpoint, stop. The second time: at once.
  void RequestStop(const std::string& why) EMPORIUM_EXCLUDES(mutex_);
  // Lets every blocked call go, refuses new ones, ends the threads. The job, if it is not over,
  // stays where its last checkpoint is. May be called again; the destructor does it.
  void Close() EMPORIUM_EXCLUDES(mutex_);

  Progress progress() EMPORIUM_EXCLUDES(mutex_);
  std::vector<StageOutcome> outcomes() EMPORIUM_EXCLUDES(mutex_);
  std::string StatusJson() EMPORIUM_EXCLUDES(mutex_);
  std::string PrometheusText() EMPORIUM_EXCLUDES(mutex_);

  // control::SchedulerIf; each throws control::Refused.
  void registerNode(control::Registered& result,
                    const control::Registration& registration) override;
  void await(control::Command& result, const control::Report& report) override;
  void putChunk(int64_t node, int64_t incarnation, int32_t stage, bool validation, int64_t step,
                int64_t chunk, const std::string& bytes) override;
  void getChunks(std::vector<std::string>& result, int64_t node, int64_t incarnation, int32_t stage,
                 bool validation, int64_t step, int64_t from_chunk) override;
  void putMetrics(int64_t node, int64_t incarnation, int32_t stage, bool validation, int64_t step,
                  const std::vector<control::Metric>& metrics) override;
  void status(control::JobStatus& result) override;
  void requestCheckpoint() override;
  void requestStop(const std::string& why) override;
  void scale(int32_t workers) override;

 private:
  // The newest command of a node, and who waits for the next one.
  struct Mailbox {
    control::Command command;
    bool gone = false;  // the node is not counted on any more
    runtime::CondVar changed;
  };
  using DiskTask = std::function<void()>;

  SchedulerService(Config config, std::unique_ptr<StateStore> store,
                   std::unique_ptr<JobMachine> machine, std::deque<Event> events);
  Status Begin(const std::vector<Note>& notes) EMPORIUM_EXCLUDES(mutex_);

  int64_t now_ms() const { return config_.clock->now_ms(); }
  // Runs `call` behind the gate; throws Refused when it fails or the service is closed.
  void Serve(const std::function<Status()>& call) EMPORIUM_EXCLUDES(mutex_);
  Status Await(const control::Report& report, control::Command* result) EMPORIUM_EXCLUDES(mutex_);
  void Perform(Actions actions) EMPORIUM_REQUIRES(mutex_);
  void Deliver(const SendCommand& send) EMPORIUM_REQUIRES(mutex_);
  void ForgetLostNodes() EMPORIUM_REQUIRES(mutex_);
  void Save(StateChange change) EMPORIUM_REQUIRES(mutex_);
  Event Tell(const Note& note) EMPORIUM_REQUIRES(mutex_);
  void Aside(DiskTask task) EMPORIUM_REQUIRES(mutex_);
  void WriteCheckpoint(const WriteManifest& write) EMPORIUM_EXCLUDES(mutex_);
  void RunTicker() EMPORIUM_EXCLUDES(mutex_);
  void RunDisk() EMPORIUM_EXCLUDES(mutex_);

  const Config config_;
  const int64_t unix_minus_now_ms_;
  runtime::Gate gate_;
  runtime::Mutex mutex_;
  std::unique_ptr<JobMachine> machine_ EMPORIUM_PT_GUARDED_BY(mutex_);
  std::unique_ptr<StateStore> store_ EMPORIUM_PT_GUARDED_BY(mutex_);
  StateChange unsaved_ EMPORIUM_GUARDED_BY(mutex_);  // what the store could not take yet
  std::deque<Event> events_ EMPORIUM_GUARDED_BY(mutex_);
  ServiceCounts counts_ EMPORIUM_GUARDED_BY(mutex_);
  // Shared, because a call that waits goes on holding its mailbox when the node is forgotten.
  std::map<int64_t, std::shared_ptr<Mailbox>> mailboxes_ EMPORIUM_GUARDED_BY(mutex_);
  uint64_t seen_removals_ EMPORIUM_GUARDED_BY(mutex_) = 0;  // Membership::removals
  bool over_ EMPORIUM_GUARDED_BY(mutex_) = false;
  bool closed_ EMPORIUM_GUARDED_BY(mutex_) = false;
  runtime::CondVar over_changed_;
  runtime::CondVar ticker_changed_;
  // What the ticker waits for; it is woken when something earlier turns up.
  std::optional<int64_t> ticker_deadline_ms_ EMPORIUM_GUARDED_BY(mutex_);
  runtime::Queue<DiskTask> disk_tasks_;
  std::thread ticker_;
  std::thread disk_;
};

}  // namespace emporium::scheduler
