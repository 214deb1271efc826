#include "worker/trainer.h"

#include <algorithm>
#include <utility>

#include "proto/check.h"
#include "runtime/failpoint.h"
#include "worker/device.h"

namespace emporium::worker {
namespace {

using runtime::MutexLock;

// A worker that was slow or taken for dead may find that others have gone on without it. It looks
// where they are and goes on from there; when they have not moved since its last look, so often,
// its command is an old one.
constexpr int kLooks = 3;

}  // namespace

Result<std::unique_ptr<Trainer>> Trainer::Make(const TrainerConfig& config) {
  EMPORIUM_CHECK(config.lanes > 0, "a worker computes in one lane or more");
  std::vector<DeviceAndModel> models;
  for (uint32_t i = 0; i < config.lanes; ++i) {
    DeviceAndModel made;
    EMPORIUM_ASSIGN_OR_RETURN(made.device,
                              OpenDevice(config.job->cluster().device(), config.first_lane + i));
    EMPORIUM_ASSIGN_OR_RETURN(made.model, config.model_factory(*made.device));
    models.push_back(std::move(made));
  }
  EMPORIUM_ASSIGN_OR_RETURN(DenseLayout dense,
                            DenseLayout::Make(*config.job, models[0].model->parameters()));
  return std::make_unique<Trainer>(config, std::move(models), std::move(dense));
}

Trainer::Trainer(const TrainerConfig& config, std::vector<DeviceAndModel> models, DenseLayout dense)
    : config_(config),
      dims_(TableDims(*config.job)),
      dense_(std::move(dense)),
      backups_(config.job->cluster().backup_percent()) {
  for (DeviceAndModel& made : models) {
    lanes_.push_back(std::make_unique<Lane>(std::move(made.device), std::move(made.model), dense_));
  }
}

Status Trainer::Train(const SpanAssignment& assignment) {
  {
    MutexLock lock(mutex_);
    if (progress_.stage != assignment.stage) progress_.highest_begun.reset();
    progress_.stage = assignment.stage;
    progress_.failed.reset();
  }
  Status status;
  std::optional<Step> last;
  for (int look = 0; look < kLooks; ++look) {
    EMPORIUM_ASSIGN_OR_RETURN(const Step version, FindVersion(assignment));
    if (last.has_value() && *last < version) look = 0;
    last = version;
    EMPORIUM_FAILPOINT("worker.shards_probed");
    if (version == Step(0)) {
      EMPORIUM_RETURN_IF_ERROR(InitializeDense(assignment.stage, assignment.generation));
    }
    status = RunPipeline(assignment, version);
    EMPORIUM_FAILPOINT("worker.span_done");
    if (status.code() != StatusCode::kStale) return status;
  }
  return status;
}

Result<Step> Trainer::FindVersion(const SpanAssignment& assignment) {
  EMPORIUM_ASSIGN_OR_RETURN(const std::vector<ShardPosition> positions,
                            ProbeShards(*config_.client, assignment.stage, assignment.generation));
  Step lowest = assignment.until;
  for (size_t shard = 0; shard < positions.size(); ++shard) {
    const ShardPosition& at = positions[shard];
    const std::string who = "shard " + std::to_string(shard);
    if (at.stage > assignment.stage) {
      return Stale(who + " is in stage " + std::to_string(at.stage.value()) + " already");
    }
    // A shard enters a stage with its first pull.
    const Step version = at.stage < assignment.stage ? Step(0) : at.version;
    if (version < assignment.from) {
      return Stale(who + " stands at step " + std::to_string(version.value()) +
                   ", before the span's first, " + std::to_string(assignment.from.value()));
    }
    lowest = std::min(lowest, version);
  }
  return lowest;
}

Status Trainer::InitializeDense(StageId stage, Generation generation) {
  const auto route = config_.client->route();
  if (route == nullptr) return FailedPrecondition("no route to the shards is known yet");
  const std::span<const float> flat = lanes_[0]->InitialDense(config_.job->seed());
  std::vector<const TableKeys*> keys;
  std::vector<std::vector<float>> rows;
  std::vector<GradientSource> sources;
  for (size_t i = 0; i < dense_.tables().size(); ++i) {
    const TableKeys& table = dense_.tables()[i];
    rows.emplace_back(table.keys.size() * dense_.chunk_floats(i));
    dense_.FlatToRows(i, flat, rows.back());
    keys.push_back(&table);
    sources.push_back({rows.back(), dense_.chunk_floats(i), false});
  }
  const KeySplit split(*route, std::move(keys));
  FrameHeader header;
  header.type = FrameType::kAssign;
  header.request_id = config_.client->NewRequestId();
  header.route_version = route->version;
  header.generation = generation;
  header.stage = stage;
  PsCall call;
  call.request_id = header.request_id;
  call.answer = FrameType::kAck;
  call.encode = [&](size_t shard) { return EncodeAssign(header, split, shard, sources); };
  for (size_t shard = 0; shard < split.shards(); ++shard) {
    call.frames.push_back(call.encode(shard));
  }
  const auto replies = CallAndWait(*config_.client, std::move(call));
  EMPORIUM_FAILPOINT("worker.dense_assigned");
  return replies.ok() ? Status::Ok() : replies.status();
}

std::unique_ptr<RowSource> Trainer::Rows(StageId stage, Generation generation) const {
  return MakeRowSource(*config_.client, dims_, dense_, stage, generation);
}

Status Trainer::RunPipeline(const SpanAssignment& assignment, Step version) {
  PipelineParts parts;
  parts.job = config_.job;
  parts.source = config_.source;
  parts.client = config_.client;
  parts.dense = &dense_;
  parts.dims = dims_;
  for (auto& lane : lanes_) parts.lanes.push_back(lane.get());
  parts.readers = config_.lanes;
  parts.backups = &backups_;
  Pipeline pipeline(parts, assignment, version);
  {
    MutexLock lock(mutex_);
    if (abort_) return Cancelled("the span was given up");
    if (pause_) pipeline.Pause();
    pipeline_ = &pipeline;
  }
  Status status = pipeline.Run();
  MutexLock lock(mutex_);
  Collect();
  progress_.time.Add(pipeline.time());
  progress_.failed = pipeline.failed();
  pipeline_ = nullptr;
  return status;
}

void Trainer::Collect() {
  if (pipeline_ == nullptr) return;
  if (const auto begun = pipeline_->highest_begun()) {
    progress_.highest_begun = std::max(progress_.highest_begun.value_or(*begun), *begun);
  }
  for (StepLoss& loss : pipeline_->TakeLosses()) {
    if (loss.backup) {
      ++progress_.backups;
      progress_.backups_first += loss.backup_first ? 1 : 0;
    } else {
      progress_.samples += loss.samples;
      if (++progress_.micro_batches == 1) progress_.first_push_ms = loss.acknowledged_ms;
    }
    losses_.push_back(std::move(loss));
  }
}

void Trainer::Pause() {
  MutexLock lock(mutex_);
  pause_ = true;
  if (pipeline_ != nullptr) pipeline_->Pause();
}

void Trainer::Abort() {
  MutexLock lock(mutex_);
  abort_ = true;
  if (pipeline_ != nullptr) pipeline_->Abort(Cancelled("the span was given up"));
  config_.client->Interrupt();
}

void Trainer::Reset() {
  MutexLock lock(mutex_);
  pause_ = false;
  abort_ = false;
  config_.client->Resume();
}

Trainer::Progress Trainer::progress() const {
  MutexLock lock(mutex_);
  Progress progress = progress_;
  if (pipeline_ == nullptr) return progress;
  progress.time.Add(pipeline_->time());
  if (const auto begun = pipeline_->highest_begun()) {
    progress.highest_begun = std::max(progress.highest_begun.value_or(*begun), *begun);
  }
  return progress;
}

void Trainer::ForgetSteps() {
  MutexLock lock(mutex_);
  progress_.highest_begun.reset();
}

std::vector<StepLoss> Trainer::TakeLosses() {
  MutexLock lock(mutex_);
  Collect();
  return std::exchange(losses_, {});
}

}  // namespace emporium::worker
