// A worker as the scheduler sees it: registers, keeps an await open, does what it is told, reports.
//
//   control thread    registers, awaits commands, interrupts what a newer command overtakes
//   executor thread   carries out one command after another
//
// A worker owns no state that matters: every command can be given up at any moment and done again,
// here or elsewhere. When the scheduler does not answer the worker goes on with what it has and
// keeps trying for limits::kSchedulerPatienceMs.
//
// Start, Join and the destructor belong to one thread; RequestStop to any.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "proto/Scheduler.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "runtime/transport.h"
#include "worker/batch_source.h"
#include "worker/lane.h"
#include "worker/stage_bodies.h"

namespace emporium::worker {

struct WorkerConfig {
  // These outlive the worker.
  const spec::Job* job = nullptr;
  const BatchSource* source = nullptr;
  control::SchedulerIf* scheduler = nullptr;
  runtime::Context* context = nullptr;

  ModelFactory model_factory;  // models::CreateModel of the job
  std::function<Result<std::unique_ptr<StageBodies>>()> bodies_factory;
  uint32_t lanes = 1;
  uint32_t first_lane = 0;  // lanes of this host's workers before this one; see OpenDevice
  std::string host_name;
  std::string job_fingerprint;
  std::string name;        // of the process, see control::Registration
  int64_t started_ms = 0;  // likewise
};

class Worker {
 public:
  // Makes models and bodies, so that what they refuse is said here, and starts the threads.
  static Result<std::unique_ptr<Worker>> Start(const WorkerConfig& config);
  // Stops when it has not been done.
  virtual ~Worker() = default;
  // Waits until the scheduler says STOP (ok when the job is done, Cancelled with the reason
  // otherwise), the worker is asked to stop (Cancelled), or it cannot go on.
  virtual Status Join() = 0;
  // Leaves when the micro-batches of the step in work are pushed (other work is given up at once),
  // telling the scheduler. The second time at once.
  virtual void RequestStop() = 0;
};

}  // namespace emporium::worker
