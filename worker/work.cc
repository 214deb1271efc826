#include "worker/work.h"

#include <algorithm>
#include <string>
#include <utility>

#include "worker/key_order.h"
#include "worker/learning_rate.h"
#include "worker/slot_feed.h"

namespace emporium::worker {
namespace {

std::string NameOf(const MicroBatchId& id) {
  return "step " + std::to_string(id.step.value()) + ", micro-batch " +
         std::to_string(id.micro_batch.value());
}

}  // namespace

WorkPlanner::WorkPlanner(const spec::Job& job, const BatchSource& source, const DenseLayout& dense,
                         std::vector<uint32_t> dims, std::shared_ptr<const runtime::Route> route,
                         const SpanAssignment& assignment)
    : job_(job),
      source_(source),
      dense_(dense),
      dims_(std::move(dims)),
      route_(std::move(route)),
      assignment_(assignment),
      stage_(source.plan(assignment.stage)),
      train_(job.stage(static_cast<int>(assignment.stage.value())).train()) {
  for (int i = 0; i < job.table_size(); ++i) {
    const spec::Table& table = job.table(i);
    const uint32_t counters = CountersOf(table);
    if (!table.has_popularity() && counters == 0) continue;
    counting_.push_back({TableId(static_cast<uint16_t>(i)), table.has_popularity(), counters});
  }
}

Status WorkPlanner::Blame(const MicroBatchId& id, const Status& status) const {
  const std::string origin = source_.OriginOf(assignment_.stage, id.step, id.micro_batch);
  return status.WithContext(NameOf(id) + (origin.empty() ? "" : " (" + origin + ")"));
}

Status WorkPlanner::Read(Work* work) const {
  work->planned = {};
  if (work->id.only_await) return Status::Ok();
  if (assignment_.left_out.contains({work->id.step, work->id.micro_batch})) return Status::Ok();
  auto planned = source_.Train(assignment_.stage, work->id.step, work->id.micro_batch);
  if (!planned.ok()) return Blame(work->id, planned.status());
  work->planned = std::move(planned).value();
  if (work->empty()) work->planned.tables.clear();
  return Status::Ok();
}

void WorkPlanner::Plan(Work* work, uint64_t pull_id, uint64_t push_id) const {
  OrderByShard(*route_, &work->planned);
  std::vector<const TableKeys*> tables;
  for (const TableKeys& keys : work->planned.tables) tables.push_back(&keys);
  if (!work->empty()) {
    for (const TableKeys& keys : dense_.tables()) tables.push_back(&keys);
  }
  work->absent.clear();
  work->absent.reserve(counting_.size());  // `tables` points into it
  for (const Counting& counting : counting_) {
    const bool occurs =
        std::any_of(work->planned.tables.begin(), work->planned.tables.end(),
                    [&counting](const TableKeys& keys) { return keys.table == counting.table; });
    if (occurs) continue;
    work->absent.emplace_back().table = counting.table;
    tables.push_back(&work->absent.back());
  }
  work->split = KeySplit(*route_, std::move(tables));
  const MicroBatchId& id = work->id;
  work->random_seed = RandomSeed(job_.seed(), assignment_.stage, id.step, id.micro_batch);
  work->scale = static_cast<float>(static_cast<double>(work->planned.batch.samples) /
                                   static_cast<double>(SamplesOfStep(stage_, id.step)));
  const FrameHeader header = HeaderOf(id.step);
  work->pull = header;
  work->pull.type = FrameType::kPull;
  work->pull.request_id = pull_id;
  if (!id.only_await) {
    work->pull.micro_batch = id.micro_batch;
    work->pull.micro_batches = id.of;
  }
  work->push = header;
  work->push.type = FrameType::kPush;
  work->push.request_id = push_id;
  work->push.micro_batch = id.micro_batch;
  work->push.micro_batches = id.of;
  work->push.event_time = work->planned.event_time;
  work->push.awaits_scale = clips();
  work->push.learning_rate_factor = static_cast<float>(
      assignment_.rate_factor *
      LearningRateFactor(train_.learning_rate(), id.step, assignment_.stage_steps));
}

FrameHeader WorkPlanner::HeaderOf(Step step) const {
  FrameHeader header;
  header.route_version = route_->version;
  header.generation = assignment_.generation;
  header.stage = assignment_.stage;
  header.step = step;
  return header;
}

Bytes WorkPlanner::StepFrame(FrameType type, Step step, uint64_t request_id,
                             float gradient_scale) const {
  FrameHeader header = HeaderOf(step);
  header.type = type;
  header.request_id = request_id;
  header.gradient_scale = gradient_scale;
  return FrameBuilder(header, {}).Finish();
}

Status WorkPlanner::Unpack(Work* work, std::span<const runtime::Message> replies) const {
  PrepareRows(work->planned.tables, dims_, true, &work->rows);
  for (size_t i = 0; i < work->planned.tables.size(); ++i) {
    TableKeys& keys = work->planned.tables[i];
    if (keys.observed.empty()) continue;
    work->rows.rows[i].observed = keys.observed.data();  // sent as they will be by then
    work->rows.rows[i].observed_mask = keys.observed_mask.data();
  }
  if (work->empty()) {
    work->dense.rows.clear();
  } else {
    PrepareRows(dense_.tables(), dims_, true, &work->dense);
  }
  std::vector<RowTarget> targets = TargetsOf(&work->rows);
  const std::vector<RowTarget> dense = TargetsOf(&work->dense);
  targets.insert(targets.end(), dense.begin(), dense.end());
  targets.resize(work->split.tables());  // what is absent receives nothing
  const Status decoded = DecodePull(work->split, replies, targets);
  if (!decoded.ok()) return decoded.WithContext(NameOf(work->id));
  FillSlots(work->rows, work->planned.slots, &work->planned.batch);
  return Status::Ok();
}

Bytes WorkPlanner::PullFrame(const Work& work, size_t shard) const {
  return EncodePull(work.pull, work.split, shard);
}

Bytes WorkPlanner::PushFrame(const Work& work, size_t shard, KeyForm form) const {
  std::vector<GradientSource> sources(work.split.tables());
  size_t s = 0;
  for (const RowBuffer* buffer : {&work.rows, &work.dense}) {
    for (size_t i = 0; i < buffer->rows.size(); ++i) sources[s++].values = buffer->gradients[i];
  }
  for (s = 0; s < sources.size(); ++s) {
    const TableId table = work.split.table(s).table;
    sources[s].dim = dims_[table.value()];
    for (const Counting& counting : counting_) {
      if (counting.table != table) continue;
      sources[s].counted = counting.popularity;
      sources[s].counters = counting.counters;
    }
  }
  return EncodePush(work.push, work.split, shard, sources, work.scale, form);
}

}  // namespace emporium::worker
