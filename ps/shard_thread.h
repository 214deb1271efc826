// A thread with its socket and the shard that it serves. Frames are handled one by one; tasks that
// other threads post (restore, checkpoint) run between two frames, with the shard to themselves.
// The rows of a cut are copied between frames too, a piece after each; when too much has been
// copied aside meanwhile (kMaxCutBytes), frames wait for the pieces.
//
// The object may be used by any thread; the shard belongs to the thread inside. Until a task has
// put a shard in place, frames are answered Busy.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "proto/status.h"
#include "ps/cut_feed.h"
#include "ps/shard.h"
#include "runtime/thread_annotations.h"
#include "runtime/transport.h"

namespace emporium::ps {

// A look at a shard from outside.
struct ShardStatus {
  // A count over the rows of a table.
  struct OfCount {
    std::string name;
    double total = 0;
    PopularitySummary summary;
  };
  struct OfTable {
    std::string name;
    uint64_t rows = 0, bytes = 0;
    RetentionCounters retention;
    std::optional<OfCount> popularity;
    std::vector<OfCount> counters;
    uint32_t version = 0;  // steps applied
  };
  ShardCounters counters;
  std::vector<OfTable> tables;
  double seconds_applying = 0;  // frames that completed a step
  double seconds_serving = 0;   // all other frames
  Generation generation;
};

class ShardThread {
 public:
  // Runs on the shard's thread; may replace the shard, and appends frames to send.
  using Task = std::function<void(std::unique_ptr<Shard>& shard, std::vector<Send>* out)>;

  // Binds the endpoint and begins to serve.
  static Result<std::unique_ptr<ShardThread>> Start(runtime::Context& context,
                                                    const std::string& endpoint);
  // Runs what has been posted, then ends.
  ~ShardThread();
  ShardThread(const ShardThread&) = delete;
  ShardThread& operator=(const ShardThread&) = delete;

  const std::string& endpoint() const { return endpoint_; }  // with the port that was bound
  void Post(Task task) EMPORIUM_EXCLUDES(mutex_);
  // The same for a task that takes a cut of the shard: its pieces go into `feed` from then on,
  // which is closed after the last. A cut of before is given up.
  void PostCut(Task task, std::shared_ptr<CutFeed> feed) EMPORIUM_EXCLUDES(mutex_);
  // Of the thread, for a CutFeed.
  const runtime::Waker& waker() const { return waker_; }
  // As it was after the last task or the last RefreshStatus that has been run.
  ShardStatus status() const EMPORIUM_EXCLUDES(mutex_);
  // Asks for a newer status; does not wait for it.
  void RefreshStatus() EMPORIUM_EXCLUDES(mutex_);

  ShardThread() = default;  // for Start

 private:
  class Loop;
  // What is to be done besides frames.
  struct Orders {
    std::vector<std::pair<Task, std::shared_ptr<CutFeed>>> tasks;
    bool status = false;
    bool stop = false;
  };
  Orders TakeOrders() EMPORIUM_EXCLUDES(mutex_);
  void Publish(ShardStatus status) EMPORIUM_EXCLUDES(mutex_);

  std::string endpoint_;
  runtime::Waker waker_;
  mutable runtime::Mutex mutex_;
  Orders orders_ EMPORIUM_GUARDED_BY(mutex_);
  ShardStatus status_ EMPORIUM_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace emporium::ps
