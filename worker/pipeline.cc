#include "worker/pipeline.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "proto/check.h"
#include "proto/limits.h"
#include "runtime/clock.h"
#include "runtime/failpoint.h"
#include "runtime/priority.h"

namespace emporium::worker {
namespace {

using runtime::Message;
using runtime::MutexLock;
using runtime::Stopwatch;

constexpr size_t kReadAheadPerLane = 2;
constexpr size_t kPullsPerLane = 2;
static_assert(kPullsPerLane <= limits::kMaxPullsInFlight);

}  // namespace

void TimeByPart::Add(const TimeByPart& other) {
  read += other.read;
  plan += other.plan;
  read_wait += other.read_wait;
  pull_wait += other.pull_wait;
  unpack += other.unpack;
  compute += other.compute;
  pack += other.pack;
  push_wait += other.push_wait;
}

Pipeline::Pipeline(const PipelineParts& parts, const SpanAssignment& assignment, Step version)
    : parts_(parts),
      assignment_(assignment),
      planner_(*parts.job, *parts.source, *parts.dense, parts.dims, parts.client->route(),
               assignment),
      plan_(planner_.stage(), assignment, version, planner_.clips()) {
  EMPORIUM_CHECK(!parts.lanes.empty() && parts.readers > 0, "a pipeline has lanes and readers");
  if (parts.backups != nullptr) parts.backups->Begin(assignment.rank, assignment.workers);
}

// -- Control
// ---------------------------------------------------------------------------------------

Status Pipeline::Run() {
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < parts_.readers; ++i) threads.emplace_back([this] { ReaderLoop(); });
  for (Lane* lane : parts_.lanes) threads.emplace_back([this, lane] { LaneLoop(lane); });
  for (std::thread& thread : threads) thread.join();
  Status outcome = Outcome();
  // Pulls beyond a pause, or what an error left under way.
  parts_.client->CancelAll();
  MutexLock lock(mutex_);
  while (!unnormed_.empty()) ReleaseLosses(unnormed_.begin()->first, std::nullopt);
  return outcome;
}

Status Pipeline::Outcome() const {
  MutexLock lock(mutex_);
  if (failure_.has_value()) return *failure_;
  return plan_.Done() ? Status::Ok() : overtaken_.value_or(Status::Ok());
}

bool Pipeline::Over() const {
  if (failure_.has_value() || plan_.Done()) return true;
  if (!overtaken_.has_value()) return false;
  // What is on its way to the shards is theirs, or another's, but only this worker may have its
  // loss.
  return std::none_of(items_.begin(), items_.end(), [](const auto& entry) {
    return entry.second->state == State::kComputing || entry.second->state == State::kPushing;
  });
}

void Pipeline::Pause() {
  MutexLock lock(mutex_);
  plan_.Pause();
  read_room_.NotifyAll();
  lane_ready_.NotifyAll();
}

void Pipeline::Abort(const Status& why) {
  MutexLock lock(mutex_);
  Fail(why);
}

void Pipeline::Fail(const Status& status) {
  if (!failure_.has_value()) failure_ = status;
  read_room_.NotifyAll();
  lane_ready_.NotifyAll();
}

void Pipeline::FailAt(const MicroBatchId& id, const Status& status) {
  MutexLock lock(mutex_);
  if (!failure_.has_value()) failed_ = id;
  Fail(status);
}

std::optional<MicroBatchId> Pipeline::failed() const {
  MutexLock lock(mutex_);
  return failed_;
}

void Pipeline::Overtaken(const Status& status) {
  if (!overtaken_.has_value()) overtaken_ = status;
  read_room_.NotifyAll();
  lane_ready_.NotifyAll();
}

std::optional<Step> Pipeline::highest_begun() const {
  MutexLock lock(mutex_);
  return plan_.highest_begun();
}

std::vector<StepLoss> Pipeline::TakeLosses() {
  MutexLock lock(mutex_);
  return std::exchange(losses_, {});
}

TimeByPart Pipeline::time() const {
  MutexLock lock(mutex_);
  return time_;
}

// -- Reading
// ---------------------------------------------------------------------------------------

bool Pipeline::RoomToRead() const {
  size_t waiting = 0;
  for (const auto& [number, item] : items_) {
    if (item->state == State::kReading || item->state == State::kRead) ++waiting;
  }
  return waiting < kReadAheadPerLane * parts_.lanes.size();
}

void Pipeline::ReaderLoop() {
  // Batches are read ahead of need: best while lanes wait for rows, not while they compute.
  runtime::GiveWay();
  TimeByPart time;
  while (true) {
    Item* item = nullptr;
    {
      MutexLock lock(mutex_);
      time_.Add(std::exchange(time, {}));
      std::optional<MicroBatchId> id;
      while (!Over() && (overtaken_ || !RoomToRead() || !(id = plan_.Next()).has_value())) {
        read_room_.Wait(mutex_);
      }
      if (!id.has_value()) break;
      std::unique_ptr<Item> fresh = std::make_unique<Item>();
      if (!spare_.empty()) {
        fresh = std::move(spare_.back());
        spare_.pop_back();
      }
      fresh->work.id = *id;
      fresh->state = State::kReading;
      item = fresh.get();
      items_.emplace(next_number_++, std::move(fresh));
    }
    const Status status = Prepare(item, &time);
    if (!status.ok()) {
      FailAt(item->work.id, status);
      break;
    }
    MutexLock lock(mutex_);
    item->state = State::kRead;
    SendPulls();
  }
  MutexLock lock(mutex_);
  time_.Add(time);
}

Status Pipeline::Prepare(Item* item, TimeByPart* time) {
  Stopwatch watch;
  EMPORIUM_RETURN_IF_ERROR(planner_.Read(&item->work));
  EMPORIUM_FAILPOINT("worker.batch_read");
  time->read += watch.Restart();
  planner_.Plan(&item->work, parts_.client->NewRequestId(), parts_.client->NewRequestId());
  item->pull = PullCall(&item->work);
  time->plan += watch.Restart();
  return Status::Ok();
}

PsCall Pipeline::PullCall(const Work* work) const {
  PsCall call;
  call.request_id = work->pull.request_id;
  call.answer = FrameType::kPullReply;
  call.encode = [this, work](size_t shard) { return planner_.PullFrame(*work, shard); };
  for (size_t shard = 0; shard < planner_.shards(); ++shard) {
    call.frames.push_back(call.encode(shard));
  }
  return call;
}

// -- Pulling
// ---------------------------------------------------------------------------------------

void Pipeline::SendPulls() {
  size_t under_way = 0;
  for (const auto& [number, item] : items_) {
    if (item->state == State::kPulling || item->state == State::kPulled) ++under_way;
  }
  for (auto& [number, item] : items_) {
    if (under_way >= kPullsPerLane * parts_.lanes.size()) return;
    if (item->state == State::kReading) return;  // pulls go out in order
    if (item->state != State::kRead) continue;
    if (failure_ || overtaken_ || !plan_.MayPull(item->work.id.step)) return;
    item->state = State::kPulling;
    ++under_way;
    item->pull.done = [this, number = number](const Status& status, std::vector<Message> replies) {
      PullAnswered(number, status, std::move(replies));
    };
    parts_.client->Call(std::move(item->pull));
    EMPORIUM_FAILPOINT("worker.pull_sent");
    read_room_.NotifyOne();
  }
}

void Pipeline::PullAnswered(Number number, const Status& status, std::vector<Message> replies) {
  EMPORIUM_FAILPOINT("worker.pull_answered");
  MutexLock lock(mutex_);
  if (!status.ok()) {
    if (plan_.Done()) return;  // it was pulled beyond a pause, and cancelled
    return status.code() == StatusCode::kStale ? Overtaken(status) : Fail(status);
  }
  Item* const item = items_.at(number).get();
  plan_.Answered(item->work.id.step);
  if (item->work.id.only_await) {
    plan_.Acknowledged(item->work.id.step);
    Finish(number);
  } else {
    item->replies = std::move(replies);
    item->state = State::kPulled;
    lane_ready_.NotifyOne();
  }
  NoteWait();
  SendPulls();
}

// -- Computing
// -------------------------------------------------------------------------------------

Pipeline::Item* Pipeline::NextReady(Number* number) {
  if (overtaken_.has_value()) return nullptr;
  for (auto& [n, item] : items_) {
    if (item->state == State::kPulled && plan_.MayBegin(item->work.id.step)) {
      *number = n;
      return item.get();
    }
  }
  return nullptr;
}

Pipeline::Item* Pipeline::WaitReady(Number* number, TimeByPart* time) {
  while (true) {
    if (Over()) return nullptr;
    if (Item* item = NextReady(number)) return item;
    if (BackupDue()) return nullptr;
    bool pulling = false;
    bool pushing = false;
    bool reading = false;
    for (const auto& [n, item] : items_) {
      pulling |= item->state == State::kPulling;
      pushing |= item->state == State::kPushing;
      reading |= item->state == State::kReading || item->state == State::kRead;
    }
    Stopwatch watch;
    WaitForEvents();
    double& part = pulling   ? time->pull_wait
                   : reading ? time->read_wait
                   : pushing ? time->push_wait
                             : time->read_wait;
    part += watch.Seconds();
  }
}

void Pipeline::LaneLoop(Lane* lane) {
  TimeByPart time;
  while (true) {
    Number number = 0;
    Item* item = nullptr;
    {
      MutexLock lock(mutex_);
      time_.Add(std::exchange(time, {}));
      item = WaitReady(&number, &time);
      if (item == nullptr && Over()) break;
      if (item != nullptr) {
        item->state = State::kComputing;
        plan_.Begin(item->work.id.step);
        SendPulls();
      }
    }
    if (item == nullptr) {
      BackUp(lane, &time);
      continue;
    }
    const Status status = Compute(lane, &item->work, std::exchange(item->replies, {}), &time);
    if (!status.ok()) {
      FailAt(item->work.id, status);
      break;
    }
    Push(number, item, &time);
  }
  MutexLock lock(mutex_);
  time_.Add(time);
}

Status Pipeline::Compute(Lane* lane, Work* work, std::vector<Message> replies, TimeByPart* time) {
  Stopwatch watch;
  Status status = planner_.Unpack(work, replies);
  replies.clear();
  time->unpack += watch.Restart();
  if (status.ok() && !work->empty()) {
    status = lane->Compute(planner_.train(), work);
    if (!status.ok()) status = planner_.Blame(work->id, status);
  }
  EMPORIUM_FAILPOINT("worker.batch_computed");
  time->compute += watch.Restart();
  return status;
}

PsCall Pipeline::PushCall(const Work* work) const {
  PsCall call;
  call.request_id = work->push.request_id;
  call.answer = FrameType::kAck;
  call.encode = [this, work](size_t shard) {
    return planner_.PushFrame(*work, shard, KeyForm::kKeys);
  };
  // The shards know the keys from the pull; one that has forgotten them asks.
  for (size_t shard = 0; shard < planner_.shards(); ++shard) {
    call.frames.push_back(planner_.PushFrame(*work, shard, KeyForm::kHash));
  }
  return call;
}

void Pipeline::Push(Number number, Item* item, TimeByPart* time) {
  Stopwatch watch;
  PsCall call = PushCall(&item->work);
  call.done = [this, number](const Status& status, const std::vector<Message>&) {
    PushAcknowledged(number, status);
  };
  time->pack += watch.Restart();
  MutexLock lock(mutex_);
  if (failure_.has_value()) return;
  item->state = State::kPushing;
  parts_.client->Call(std::move(call));
  EMPORIUM_FAILPOINT("worker.push_sent");
}

// -- The end of a micro-batch
// ----------------------------------------------------------------------

void Pipeline::PushAcknowledged(Number number, const Status& status) {
  EMPORIUM_FAILPOINT("worker.push_acknowledged");
  MutexLock lock(mutex_);
  if (!status.ok()) return Fail(status);
  Item* const item = items_.at(number).get();
  const Step step = item->work.id.step;
  RecordLoss(&item->work);
  if (plan_.Acknowledged(step)) AskForSquares(step);
  NoteWait();
  Finish(number);
}

void Pipeline::RecordLoss(Work* work) {
  std::vector<StepLoss>& losses = planner_.clips() ? unnormed_[work->id.step] : losses_;
  losses.push_back({work->id.step, work->id.micro_batch, work->planned.batch.samples,
                    std::exchange(work->losses, {}), runtime::UnixMs()});
}

void Pipeline::ReleaseLosses(Step step, std::optional<double> norm) {
  const auto waiting = unnormed_.find(step);
  if (waiting == unnormed_.end()) return;
  for (StepLoss& loss : waiting->second) {
    if (norm.has_value()) loss.terms.push_back({"gradient_norm", *norm, loss.samples});
    losses_.push_back(std::move(loss));
  }
  unnormed_.erase(waiting);
}

void Pipeline::Finish(Number number) {
  const auto item = items_.find(number);
  spare_.push_back(std::move(item->second));
  items_.erase(item);
  WakeWhenDone();
}

void Pipeline::WakeWhenDone() {
  if (!Over()) return;
  read_room_.NotifyAll();
  lane_ready_.NotifyAll();
}

}  // namespace emporium::worker
