// Computes spans of train stages: finds out where the shards stand, sees to it that the dense
// parameters exist, and runs a pipeline. Owns the lanes with their devices and models.
//
// Train, InitializeDense and Rows belong to one thread at a time; everything else to any.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "runtime/thread_annotations.h"
#include "worker/lane.h"
#include "worker/pipeline.h"
#include "worker/row_source.h"

namespace emporium::worker {

struct TrainerConfig {
  const spec::Job* job = nullptr;  // job, source and client outlive the trainer
  const BatchSource* source = nullptr;
  PsClient* client = nullptr;
  ModelFactory model_factory;
  uint32_t lanes = 1;
  uint32_t first_lane = 0;  // lanes of this host's workers before this one
};

class Trainer {
 public:
  // Makes the models; says what the job's model refuses.
  static Result<std::unique_ptr<Trainer>> Make(const TrainerConfig& config);
  // For Make: a device and a model of it per lane, and how the parameters are laid out.
  struct DeviceAndModel {
    std::unique_ptr<models::Device> device;
    std::unique_ptr<models::Model> model;
  };
  Trainer(const TrainerConfig& config, std::vector<DeviceAndModel> models, DenseLayout dense);

  // Computes this worker's part of a span. Cancelled after Abort; Stale when shards stand elsewhere
  // than the assignment says.
  Status Train(const SpanAssignment& assignment) EMPORIUM_EXCLUDES(mutex_);
  // Sends the initial values of the dense parameters; rows that exist are left as they are.
  Status InitializeDense(StageId stage, Generation generation);
  // The shards' present rows, for scoring.
  std::unique_ptr<RowSource> Rows(StageId stage, Generation generation) const;

  // Of the Train call that runs or, after Reset, comes next.
  void Pause() EMPORIUM_EXCLUDES(mutex_);
  void Abort() EMPORIUM_EXCLUDES(mutex_);
  // Forgets Pause and Abort.
  void Reset() EMPORIUM_EXCLUDES(mutex_);

  struct Progress {
    std::optional<StageId> stage;        // that was trained last
    std::optional<Step> highest_begun;   // in it
    std::optional<MicroBatchId> failed;  // by the last Train, which ended with it
    int64_t samples = 0;                 // acknowledged, since the start
    int64_t micro_batches = 0;
    int64_t first_push_ms = 0;  // acknowledged, since 1970; 0: none yet
    int64_t backups = 0;        // micro-batches of other workers, not among those
    int64_t backups_first = 0;  // of which no shard had the gradients before
    TimeByPart time;
  };
  Progress progress() const EMPORIUM_EXCLUDES(mutex_);
  // No step of the present stage has been begun.
  void ForgetSteps() EMPORIUM_EXCLUDES(mutex_);
  // Losses of acknowledged micro-batches since the last call.
  std::vector<StepLoss> TakeLosses() EMPORIUM_EXCLUDES(mutex_);

 private:
  // The version at which this worker starts.
  Result<Step> FindVersion(const SpanAssignment& assignment);
  Status RunPipeline(const SpanAssignment& assignment, Step version) EMPORIUM_EXCLUDES(mutex_);
  void Collect() EMPORIUM_REQUIRES(mutex_);

  const TrainerConfig config_;
  const std::vector<uint32_t> dims_;
  const DenseLayout dense_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  Backups backups_;  // of the pipeline that runs

  mutable runtime::Mutex mutex_;
  bool pause_ EMPORIUM_GUARDED_BY(mutex_) = false;
  bool abort_ EMPORIUM_GUARDED_BY(mutex_) = false;
  Pipeline* pipeline_ EMPORIUM_GUARDED_BY(mutex_) = nullptr;  // the one that runs
  Progress progress_ EMPORIUM_GUARDED_BY(mutex_);
  std::vector<StepLoss> losses_ EMPORIUM_GUARDED_BY(mutex_);
};

}  // namespace emporium::worker
