// Carries out the commands that mean work: TRAIN, EVALUATE, EXPORT, COMBINE. Knows nothing of
// sequences and reports; that is the node's (worker/worker_node.h).
//
// Run belongs to the executor thread; Interrupt and Pause to any.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "proto/control_types.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "runtime/thread_annotations.h"
#include "worker/ps_client.h"
#include "worker/stage_bodies.h"
#include "worker/trainer.h"

namespace emporium::worker {

// The scheduler, as a command sees it: calls that are tried again while it cannot be reached, under
// the node's present identity.
class ChunkExchange {
 public:
  virtual ~ChunkExchange() = default;
  // `of`: the command whose results they are.
  virtual Status PutChunk(const control::Command& of, int64_t chunk, const std::string& bytes) = 0;
  // Chunks from `from` on: one or more.
  virtual Result<std::vector<std::string>> GetChunks(const control::Command& of, int64_t from) = 0;
  virtual Status PutMetrics(const control::Command& of,
                            const std::vector<control::Metric>& metrics) = 0;
};

class CommandRunner {
 public:
  // All of them outlive the runner.
  CommandRunner(const spec::Job& job, PsClient& client, Trainer& trainer, StageBodies& bodies,
                ChunkExchange& exchange)
      : job_(job), client_(client), trainer_(trainer), bodies_(bodies), exchange_(exchange) {}

  Status Run(const control::Command& command) EMPORIUM_EXCLUDES(mutex_);
  // Ends the Run under way, or that comes next, with Cancelled; until Reset.
  void Interrupt() EMPORIUM_EXCLUDES(mutex_);
  void Reset() EMPORIUM_EXCLUDES(mutex_);

 private:
  Status TakeRoute(const control::Route& route);
  Status Train(const control::Command& command);
  Status ComputeChunks(const control::Command& command);
  Status Combine(const control::Command& command);
  bool interrupted() const EMPORIUM_EXCLUDES(mutex_);

  const spec::Job& job_;
  PsClient& client_;
  Trainer& trainer_;
  StageBodies& bodies_;
  ChunkExchange& exchange_;
  mutable runtime::Mutex mutex_;
  bool interrupted_ EMPORIUM_GUARDED_BY(mutex_) = false;
};

}  // namespace emporium::worker
