// What a server does when it is told to: restore and checkpoint, on all of its shards side by side.
#include <latch>
#include <optional>
#include <utility>

#include "ps/checkpoint.h"
#include "ps/server.h"
#include "ps/shard_commands.h"
#include "runtime/clock.h"
#include "runtime/control_client.h"
#include "runtime/failpoint.h"
#include "runtime/file.h"
#include "runtime/log.h"
#include "runtime/manifest.h"

namespace emporium::ps {
namespace {

using control::CommandKind;

const char* NameOf(CommandKind::type kind) {
  switch (kind) {
    case CommandKind::RESTORE:
      return "restore";
    case CommandKind::CHECKPOINT:
      return "checkpoint";
    default:
      return "unknown command";
  }
}

}  // namespace

void Server::Execute() {
  while (std::optional<control::Command> command = commands_.Pop()) {
    const runtime::Stopwatch watch;
    Outcome outcome;
    outcome.sequence = command->sequence;
    switch (command->kind) {
      case CommandKind::RESTORE:
        outcome.status = Restore(*command);
        EMPORIUM_FAILPOINT("server.restore_done");
        break;
      case CommandKind::CHECKPOINT:
        outcome.status = Checkpoint(*command);
        EMPORIUM_FAILPOINT("server.checkpoint_cut");
        break;
      default:
        outcome.status =
            InvalidArgument("a server does not know command " + std::to_string(command->kind));
    }
    if (!outcome.status.ok()) {
      runtime::Log(runtime::LogLevel::kError, "ps", "{} failed: {}", NameOf(command->kind),
                   outcome.status.ToString());
    }
    runtime::MutexLock lock(mutex_);
    seconds_[NameOf(command->kind)] += watch.Seconds();
    outcome_ = std::move(outcome);
    changed_.NotifyAll();
  }
}

Status Server::OnEveryShard(const Work& work, const CheckpointJob::Feeds& feeds) {
  std::vector<Status> statuses(shards_.size());
  std::latch done(static_cast<ptrdiff_t>(shards_.size()));
  for (size_t i = 0; i < shards_.size(); ++i) {
    shards_[i]->PostCut(
        [&, i](std::unique_ptr<Shard>& shard, std::vector<Send>* out) {
          statuses[i] = work(i, shard, out);
          done.count_down();
        },
        feeds.empty() ? nullptr : feeds[i]);
  }
  done.wait();
  for (const Status& status : statuses) EMPORIUM_RETURN_IF_ERROR(status);
  return Status::Ok();
}

Status Server::Restore(const control::Command& command) {
  EMPORIUM_FAILPOINT("server.restore_begun");
  checkpoint_job_.reset();
  EMPORIUM_ASSIGN_OR_RETURN(const runtime::Route route, runtime::RouteFromControl(command.route));
  if (first_shard_ < 0 || first_shard_ + shards_.size() > route.shards()) {
    return InvalidArgument("the route names " + std::to_string(route.shards()) +
                           " shards, this server has " + std::to_string(shards_.size()) + " from " +
                           std::to_string(first_shard_) + " on");
  }
  // Verified once for all shards, before any file is opened.
  spec::CheckpointManifest manifest;
  const std::string& dir = command.checkpoint_dir;
  if (!dir.empty()) {
    EMPORIUM_ASSIGN_OR_RETURN(manifest, runtime::ReadManifest(dir));
    EMPORIUM_RETURN_IF_ERROR(runtime::VerifyFiles(dir, manifest));
    EMPORIUM_FAILPOINT("server.restore_manifest_read");
  }
  const std::vector<TableSettings> tables = TablesOf(config_.job);
  return OnEveryShard([&](size_t i, std::unique_ptr<Shard>& shard,
                          std::vector<Send>* out) -> Status {
    Shard::Config config =
        ConfigOnRoute(ShardId(static_cast<uint16_t>(first_shard_ + i)), route,
                      Generation(static_cast<uint64_t>(command.generation)), tables);
    config.page_ahead = &page_ahead_;
    config.memory_bytes = config_.job.cluster().memory_per_shard_mib() << 20;
    config.follow_changes = config_.job.checkpoint().max_deltas() > 0;
    if (shard != nullptr) shard->RefuseParked("the shard is restored", out);
    shard.reset();  // its memory is needed for the next
    auto fresh = std::make_unique<Shard>(std::move(config));
    if (!dir.empty()) {
      EMPORIUM_RETURN_IF_ERROR(RestoreShard(dir, manifest, config_.job_fingerprint, fresh.get()));
    }
    EMPORIUM_FAILPOINT("server.restore_shard_read");
    shard = std::move(fresh);
    return Status::Ok();
  });
}

Status Server::Checkpoint(const control::Command& command) {
  EMPORIUM_FAILPOINT("server.checkpoint_begun");
  checkpoint_job_.reset();  // of which the scheduler expects nothing any more
  EMPORIUM_RETURN_IF_ERROR(runtime::MakeDirs(command.checkpoint_dir));
  const StageId stage(static_cast<uint32_t>(command.stage));
  const Step step(static_cast<uint64_t>(command.until_step));
  std::vector<Cut> cuts(shards_.size());
  CheckpointJob::Feeds feeds;
  for (const std::unique_ptr<ShardThread>& shard : shards_) {
    feeds.push_back(std::make_shared<CutFeed>(shard->waker()));
  }
  Status cut = OnEveryShard(
      [&](size_t i, std::unique_ptr<Shard>& shard, std::vector<Send>* out) -> Status {
        if (shard == nullptr) return FailedPrecondition("a checkpoint of what was never restored");
        EMPORIUM_RETURN_IF_ERROR(shard->ReadyForCheckpoint(stage, step, out));
        cuts[i] = shard->BeginCut(static_cast<uint64_t>(command.checkpoint),
                                  static_cast<uint64_t>(command.parent));
        return Status::Ok();
      },
      feeds);
  if (!cut.ok()) {
    for (const std::shared_ptr<CutFeed>& feed : feeds) feed->Close();
    return cut;
  }
  {
    runtime::MutexLock lock(mutex_);
    writing_ = command.checkpoint;
  }
  checkpoint_job_ = std::make_unique<CheckpointJob>(
      CheckpointJob::Config{command.checkpoint_dir, config_.job_fingerprint,
                            static_cast<uint64_t>(incarnation_)},
      std::move(cuts), std::move(feeds),
      [this, number = command.checkpoint,
       watch = runtime::Stopwatch()](Result<std::vector<control::ShardFile>> files) {
        TakeWritten(number, std::move(files), watch.Seconds());
      });
  return Status::Ok();
}

void Server::TakeWritten(int64_t number, Result<std::vector<control::ShardFile>> files,
                         double seconds) {
  EMPORIUM_FAILPOINT("server.checkpoint_done");
  Written written;
  written.checkpoint = number;
  written.status = files.status();
  if (files.ok()) {
    written.files = std::move(files).value();
  } else {
    runtime::Log(runtime::LogLevel::kError, "ps", "checkpoint {} failed: {}", number,
                 written.status.ToString());
  }
  runtime::MutexLock lock(mutex_);
  seconds_["write"] += seconds;
  if (writing_ == number) writing_ = 0;
  written_ = std::move(written);
  changed_.NotifyAll();
}

}  // namespace emporium::ps
