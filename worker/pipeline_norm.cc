// Pipeline: a step whose gradients are clipped by the norm of all of them. All shards are asked for
// their squares, and told what to apply.
#include <utility>

#include "worker/pipeline.h"
#include "worker/step_norm.h"

namespace emporium::worker {

using runtime::Message;
using runtime::MutexLock;

PsCall Pipeline::StepCall(FrameType type, Step step, float gradient_scale) const {
  PsCall call;
  call.request_id = parts_.client->NewRequestId();
  call.encode = [this, type, step, id = call.request_id, gradient_scale](size_t) {
    return planner_.StepFrame(type, step, id, gradient_scale);
  };
  for (size_t shard = 0; shard < planner_.shards(); ++shard) {
    call.frames.push_back(call.encode(shard));
  }
  return call;
}

void Pipeline::AskForSquares(Step step) {
  PsCall call = StepCall(FrameType::kSquares, step, 1);
  call.answer = FrameType::kSquaresReply;
  call.done = [this, step](const Status& status, const std::vector<Message>& replies) {
    SquaresAnswered(step, status, replies);
  };
  parts_.client->Call(std::move(call));
}

void Pipeline::SquaresAnswered(Step step, const Status& status,
                               const std::vector<Message>& replies) {
  MutexLock lock(mutex_);
  if (plan_.Done()) return;  // what a pause has not waited for
  if (!status.ok()) return Fail(status);
  const Result<std::vector<ShardSquares>> shards = SquaresOf(replies);
  if (!shards.ok()) return Fail(shards.status());
  const std::optional<double> norm = NormOf(step, *shards);
  ReleaseLosses(step, norm);
  if (!norm.has_value()) return StepApplied(step);
  const float factor = ClipFactor(*norm, planner_.train().clip_global_norm());
  PsCall call = StepCall(FrameType::kApply, step, factor);
  call.answer = FrameType::kAck;
  call.done = [this, step](const Status& applied, const std::vector<Message>&) {
    MutexLock again(mutex_);
    if (plan_.Done()) return;
    if (!applied.ok()) return Fail(applied);
    StepApplied(step);
  };
  parts_.client->Call(std::move(call));
}

void Pipeline::StepApplied(Step step) {
  plan_.Applied(step);
  WakeWhenDone();
}

}  // namespace emporium::worker
