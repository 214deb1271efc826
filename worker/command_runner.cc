#include "worker/command_runner.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "runtime/control_client.h"
#include "runtime/failpoint.h"

namespace emporium::worker {

using control::Command;
using control::CommandKind;
using runtime::MutexLock;

void CommandRunner::Interrupt() {
  {
    MutexLock lock(mutex_);
    interrupted_ = true;
  }
  trainer_.Abort();
}

void CommandRunner::Reset() {
  {
    MutexLock lock(mutex_);
    interrupted_ = false;
  }
  trainer_.Reset();
}

bool CommandRunner::interrupted() const {
  MutexLock lock(mutex_);
  return interrupted_;
}

Status CommandRunner::Run(const Command& command) {
  if (command.stage < 0 || command.stage >= job_.stage_size()) {
    return InvalidArgument("the scheduler names stage " + std::to_string(command.stage) +
                           " of a job with " + std::to_string(job_.stage_size()));
  }
  if (command.kind == CommandKind::COMBINE) return Combine(command);
  EMPORIUM_RETURN_IF_ERROR(TakeRoute(command.route));
  if (command.workers < 1 || command.rank < 0 || command.rank >= command.workers) {
    return InvalidArgument("the scheduler gives rank " + std::to_string(command.rank) + " of " +
                           std::to_string(command.workers) + " workers");
  }
  return command.kind == CommandKind::TRAIN ? Train(command) : ComputeChunks(command);
}

Status CommandRunner::TakeRoute(const control::Route& route) {
  const auto present = client_.route();
  if (route.shard_of_partition.empty() && present != nullptr) return Status::Ok();
  EMPORIUM_ASSIGN_OR_RETURN(runtime::Route next, runtime::RouteFromControl(route));
  if (present != nullptr && present->version == next.version) return Status::Ok();
  return client_.SetRoute(std::make_shared<const runtime::Route>(std::move(next)));
}

Status CommandRunner::Train(const Command& command) {
  if (!job_.stage(command.stage).has_train() || command.from_step < 0 ||
      command.until_step < command.from_step) {
    return InvalidArgument("the scheduler orders steps " + std::to_string(command.from_step) +
                           " to " + std::to_string(command.until_step) + " of stage " +
                           std::to_string(command.stage));
  }
  SpanAssignment assignment;
  assignment.generation = Generation(static_cast<uint64_t>(command.generation));
  assignment.stage = StageId(static_cast<uint32_t>(command.stage));
  assignment.rank = static_cast<uint32_t>(command.rank);
  assignment.workers = static_cast<uint32_t>(command.workers);
  assignment.from = Step(static_cast<uint64_t>(command.from_step));
  assignment.until = Step(static_cast<uint64_t>(command.until_step));
  assignment.stage_steps = static_cast<uint64_t>(command.stage_steps);
  if (!(command.rate_factor > 0 && command.rate_factor <= 1)) {
    return InvalidArgument("the scheduler orders a learning rate of " +
                           std::to_string(command.rate_factor) + " times that of the job");
  }
  assignment.rate_factor = command.rate_factor;
  for (const control::MicroBatchName& name : command.left_out) {
    assignment.left_out.emplace(static_cast<uint64_t>(name.step),
                                static_cast<uint32_t>(name.micro_batch));
  }
  return trainer_.Train(assignment);
}

Status CommandRunner::ComputeChunks(const Command& command) {
  const StageId stage(static_cast<uint32_t>(command.stage));
  const Generation generation(static_cast<uint64_t>(command.generation));
  EMPORIUM_RETURN_IF_ERROR(trainer_.InitializeDense(stage, generation));
  const std::unique_ptr<RowSource> rows = trainer_.Rows(stage, generation);
  bodies_.Begin();
  for (int64_t chunk = command.rank; chunk < command.chunks; chunk += command.workers) {
    if (interrupted()) return Cancelled("a newer command came");
    Result<std::string> bytes =
        command.kind == CommandKind::EXPORT
            ? bodies_.ExportChunk(stage, chunk, *rows)
            : bodies_.EvaluateChunk(stage, command.validation, chunk, *rows);
    EMPORIUM_FAILPOINT("worker.chunk_computed");
    if (!bytes.ok()) return bytes.status().WithContext("chunk " + std::to_string(chunk));
    EMPORIUM_RETURN_IF_ERROR(exchange_.PutChunk(command, chunk, *bytes));
    EMPORIUM_FAILPOINT("worker.chunk_put");
  }
  return Status::Ok();
}

Status CommandRunner::Combine(const Command& command) {
  const StageId stage(static_cast<uint32_t>(command.stage));
  // Chunks come several at a time and are asked for one by one, in order.
  std::vector<std::string> fetched;
  int64_t first = 0;  // of `fetched`
  const ChunkSource source = [&](int64_t chunk) -> Result<std::string> {
    if (interrupted()) return Cancelled("a newer command came");
    if (chunk < first || chunk >= first + static_cast<int64_t>(fetched.size())) {
      EMPORIUM_ASSIGN_OR_RETURN(fetched, exchange_.GetChunks(command, chunk));
      first = chunk;
      if (fetched.empty()) {
        return NotFound("the scheduler has no result of chunk " + std::to_string(chunk));
      }
    }
    return std::move(fetched[static_cast<size_t>(chunk - first)]);
  };
  bodies_.Begin();
  EMPORIUM_ASSIGN_OR_RETURN(const std::vector<control::Metric> metrics,
                            job_.stage(command.stage).has_export_()
                                ? bodies_.CombineExport(stage, source)
                                : bodies_.CombineEvaluation(stage, command.validation, source));
  EMPORIUM_FAILPOINT("worker.combined");
  EMPORIUM_RETURN_IF_ERROR(exchange_.PutMetrics(command, metrics));
  EMPORIUM_FAILPOINT("worker.metrics_put");
  return Status::Ok();
}

}  // namespace emporium::worker
