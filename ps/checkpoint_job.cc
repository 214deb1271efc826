#include "ps/checkpoint_job.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "proto/check.h"
#include "ps/checkpoint.h"
#include "ps/shard_commands.h"
#include "runtime/priority.h"

namespace emporium::ps {

CheckpointJob::CheckpointJob(Config config, std::vector<Cut> cuts, Feeds feeds, Done done)
    : config_(std::move(config)),
      cuts_(std::move(cuts)),
      feeds_(std::move(feeds)),
      done_(std::move(done)),
      statuses_(cuts_.size()),
      files_(cuts_.size()),
      writing_(cuts_.size()) {
  EMPORIUM_CHECK(cuts_.size() == feeds_.size(), "a feed for each cut");
  for (size_t i = 0; i < cuts_.size(); ++i) threads_.emplace_back([this, i] { Write(i); });
}

CheckpointJob::~CheckpointJob() {
  CloseFeeds();
  for (std::thread& thread : threads_) thread.join();
}

void CheckpointJob::CloseFeeds() {
  for (const std::shared_ptr<CutFeed>& feed : feeds_) feed->Close();
}

void CheckpointJob::Write(size_t i) {
  runtime::GiveWay(true);  // to the shards and whoever computes here
  const CutSource source = [this, i] { return feeds_[i]->Take(); };
  Result<ShardFileInfo> info =
      WriteShardFile(cuts_[i], source, config_.dir, config_.job_fingerprint, config_.incarnation);
  if (info.ok()) {
    files_[i] = ToControl(cuts_[i].shard, *info);
  } else {
    statuses_[i] = info.status();
    CloseFeeds();  // the others' files are of no use
  }
  if (writing_.fetch_sub(1) == 1) Finish();
}

void CheckpointJob::Finish() {
  // A thread that was told to give up is not the reason.
  std::optional<Status> why;
  for (const Status& status : statuses_) {
    if (status.ok()) continue;
    if (!why.has_value() || why->code() == StatusCode::kCancelled) why = status;
  }
  if (why.has_value()) {
    done_(*std::move(why));
  } else {
    done_(std::move(files_));
  }
}

}  // namespace emporium::ps
