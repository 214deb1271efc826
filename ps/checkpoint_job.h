// The files of one checkpoint in the making: a thread for each shard writes what its feed brings.
// When all have ended, one of them says what came of it.
//
// The object belongs to one thread; the threads inside end when their files are written, when a
// write fails, or when the job is destroyed.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proto/control_types.h"
#include "proto/status.h"
#include "ps/cut.h"
#include "ps/cut_feed.h"

namespace emporium::ps {

class CheckpointJob {
 public:
  using Feeds = std::vector<std::shared_ptr<CutFeed>>;
  // The files by shard, or why there are not all of them. On one of the threads inside.
  using Done = std::function<void(Result<std::vector<control::ShardFile>> files)>;
  struct Config {
    std::string dir;
    std::string job_fingerprint;
    uint64_t incarnation = 0;
  };

  // One feed for each cut. Without cuts, `done` is not called.
  CheckpointJob(Config config, std::vector<Cut> cuts, Feeds feeds, Done done);
  // Gives up what is not written yet; `done` has been called afterwards.
  ~CheckpointJob();
  CheckpointJob(const CheckpointJob&) = delete;
  CheckpointJob& operator=(const CheckpointJob&) = delete;

 private:
  void Write(size_t i);
  void Finish();
  void CloseFeeds();

  const Config config_;
  const std::vector<Cut> cuts_;
  const Feeds feeds_;
  const Done done_;
  // By shard; each is written by its thread alone until all have ended.
  std::vector<Status> statuses_;
  std::vector<control::ShardFile> files_;
  std::atomic<size_t> writing_;
  std::vector<std::thread> threads_;
};

}  // namespace emporium::ps
