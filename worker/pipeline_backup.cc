// Pipeline: what a lane does when other workers are waited for longer than usual. It asks the
// shards what they miss, and computes it in the place of whoever is late. Nothing depends on how
// that goes: what fails is the others' to do, and to report.
#include <algorithm>
#include <utility>

#include "runtime/clock.h"
#include "runtime/failpoint.h"
#include "runtime/log.h"
#include "worker/pipeline.h"

namespace emporium::worker {

using runtime::Message;
using runtime::MutexLock;
using runtime::Stopwatch;

namespace {

Backups::Time Now() { return runtime::SystemClock().now(); }

}  // namespace

bool Pipeline::BackupDue() const {
  const auto due = parts_.backups != nullptr ? parts_.backups->due() : std::nullopt;
  return due.has_value() && !overtaken_ && Now() >= *due;
}

void Pipeline::WaitForEvents() {
  const auto due = parts_.backups != nullptr ? parts_.backups->due() : std::nullopt;
  if (!due.has_value() || overtaken_) return lane_ready_.Wait(mutex_);
  lane_ready_.WaitUntil(mutex_, std::chrono::steady_clock::time_point(*due));
}

void Pipeline::NoteWait() {
  if (parts_.backups == nullptr) return;
  parts_.backups->Reached(plan_.known_version(), Now());
  const std::optional<Step> step = plan_.WaitsForOthers();
  if (!step.has_value() || !plan_.SeesToStep(*step)) return;
  parts_.backups->Waits(*step, Now());
  if (parts_.backups->due().has_value()) lane_ready_.NotifyAll();  // they wait until then
}

void Pipeline::BackUp(Lane* lane, TimeByPart* time) {
  Step step;
  {
    MutexLock lock(mutex_);
    if (!BackupDue()) return;  // another lane looks
    step = parts_.backups->Look();
  }
  Stopwatch watch;
  const std::optional<MicroBatchId> id = ChooseBackup(step);
  time->pull_wait += watch.Seconds();
  if (!id.has_value()) return;
  const Status status = ComputeBackup(*id, lane, time);
  const bool late = status.code() == StatusCode::kCancelled || status.code() == StatusCode::kStale;
  if (status.ok() || late) return;
  runtime::Log(runtime::LogLevel::kInfo, "worker",
               "a backup of step {}, micro-batch {} was given up: {}", id->step.value(),
               id->micro_batch.value(), status.ToString());
}

std::optional<MicroBatchId> Pipeline::ChooseBackup(Step step) {
  const auto shards = ProbeShards(*parts_.client, assignment_.stage, assignment_.generation);
  MutexLock lock(mutex_);
  Backups& backups = *parts_.backups;
  if (!shards.ok() || Over() || overtaken_ || !plan_.MayBegin(step)) {
    backups.GiveUp(step, Now());
    return std::nullopt;
  }
  MicroBatchId id;
  id.step = step;
  id.of = planner_.stage().MicroBatches(step);
  uint32_t lowest = id.of;
  for (const ShardPosition& at : *shards) {
    const bool here = at.stage == assignment_.stage && at.version == step;
    if (here) lowest = std::min(lowest, at.lowest_missing);
  }
  const std::optional<MicroBatch> chosen = backups.Choose(step, lowest, id.of, Now());
  lane_ready_.NotifyOne();  // the next may look
  if (!chosen.has_value()) return std::nullopt;
  id.micro_batch = *chosen;
  plan_.Begin(step);
  return id;
}

Status Pipeline::ComputeBackup(const MicroBatchId& id, Lane* lane, TimeByPart* time) {
  Stopwatch watch;
  Work work;
  work.id = id;
  EMPORIUM_RETURN_IF_ERROR(planner_.Read(&work));
  time->read += watch.Restart();
  planner_.Plan(&work, parts_.client->NewRequestId(), parts_.client->NewRequestId());
  PsCall pull = PullCall(&work);
  time->plan += watch.Restart();
  EMPORIUM_ASSIGN_OR_RETURN(std::vector<Message> replies,
                            CallAndWait(*parts_.client, std::move(pull)));
  time->pull_wait += watch.Restart();
  {
    MutexLock lock(mutex_);
    if (failure_ || !parts_.backups->Waiting(id.step)) return Cancelled("the step is over");
  }
  EMPORIUM_RETURN_IF_ERROR(Compute(lane, &work, std::move(replies), time));
  watch.Restart();
  PsCall push = PushCall(&work);
  time->pack += watch.Restart();
  EMPORIUM_ASSIGN_OR_RETURN(const std::vector<Message> acks,
                            CallAndWait(*parts_.client, std::move(push)));
  time->push_wait += watch.Restart();
  RecordBackup(&work, acks);
  return Status::Ok();
}

void Pipeline::RecordBackup(Work* work, std::span<const Message> acks) {
  StepLoss loss{work->id.step, work->id.micro_batch, work->planned.batch.samples,
                std::exchange(work->losses, {})};
  loss.backup = true;
  loss.backup_first = std::all_of(acks.begin(), acks.end(), [](const Message& ack) {
    const auto header = FrameView::ParseHeader(ack.bytes());
    return header.ok() && header->micro_batches > 0;
  });
  MutexLock lock(mutex_);
  // The norm of a step's gradients may be known by now: the loss does not wait for it twice.
  const bool waits = planner_.clips() && unnormed_.contains(work->id.step);
  (waits ? unnormed_[work->id.step] : losses_).push_back(std::move(loss));
}

}  // namespace emporium::worker
