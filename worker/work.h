// One micro-batch on its way from the reader to the acknowledgement of its gradients, and what is
// done with it on the way: plan, unpack, pack. No threads and no waiting here.
//
// A Work belongs to one stage of the pipeline at a time; its memory is used again. A WorkPlanner is
// immutable; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/model.h"
#include "proto/frame.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "runtime/route.h"
#include "runtime/transport.h"
#include "worker/batch_source.h"
#include "worker/dense.h"
#include "worker/key_split.h"
#include "worker/row_source.h"
#include "worker/span_plan.h"

namespace emporium::worker {

struct Work {
  MicroBatchId id;
  PlannedBatch planned;
  RowBuffer rows;   // of planned.tables; gradients are there after Lane::Compute
  RowBuffer dense;  // of DenseLayout::tables(); the same
  // Tables that count sightings and do not occur in the batch: pushes carry their total (0).
  std::vector<TableKeys> absent;
  KeySplit split;  // of planned.tables, then the dense tables, then absent
  uint64_t random_seed = 0;
  float scale = 0;  // of the gradients: this micro-batch's part of the step's samples
  FrameHeader pull;
  FrameHeader push;
  std::vector<models::LossTerm> losses;  // written by Lane::Compute

  // Nothing to compute: it asks for no rows and brings no gradients. It is pushed all the same,
  // because shards wait for every micro-batch of a step.
  bool empty() const { return planned.batch.samples == 0; }
};

class WorkPlanner {
 public:
  // `job`, `source` and `dense` outlive the planner. `route` is shared with the client.
  WorkPlanner(const spec::Job& job, const BatchSource& source, const DenseLayout& dense,
              std::vector<uint32_t> dims, std::shared_ptr<const runtime::Route> route,
              const SpanAssignment& assignment);

  const StagePlan& stage() const { return stage_; }
  const spec::Train& train() const { return train_; }
  // Gradients are clipped by the norm of all of them.
  bool clips() const { return train_.clip_global_norm() > 0; }
  size_t shards() const { return route_->shards(); }

  // `status`, which a micro-batch's samples have led to, with its name and where they came from.
  Status Blame(const MicroBatchId& id, const Status& status) const;
  // Reads the batch of `work->id` (none when it only awaits a step).
  Status Read(Work* work) const;
  // Orders its keys by shard, splits them and fills in everything that is known before rows are;
  // the ids are the client's.
  void Plan(Work* work, uint64_t pull_id, uint64_t push_id) const;
  // Rows and dense rows of the answers (by shard) into work->rows and work->dense.
  Status Unpack(Work* work, std::span<const runtime::Message> replies) const;

  Bytes PullFrame(const Work& work, size_t shard) const;
  Bytes PushFrame(const Work& work, size_t shard, KeyForm form) const;
  // What is said of a whole step: Squares or Apply.
  Bytes StepFrame(FrameType type, Step step, uint64_t request_id, float gradient_scale) const;

 private:
  FrameHeader HeaderOf(Step step) const;

  // A table whose totals travel in every push.
  struct Counting {
    TableId table;
    bool popularity = false;
    uint32_t counters = 0;
  };

  const spec::Job& job_;
  const BatchSource& source_;
  const DenseLayout& dense_;
  const std::vector<uint32_t> dims_;
  const std::shared_ptr<const runtime::Route> route_;
  const SpanAssignment assignment_;
  const StagePlan stage_;
  const spec::Train& train_;
  std::vector<Counting> counting_;
};

}  // namespace emporium::worker
