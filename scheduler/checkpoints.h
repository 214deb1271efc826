// One checkpoint in the making: the files that the servers report, and the manifest that they make
// up when all are there. And what the scheduler itself writes into a manifest.
//
// State machines without files: belong to one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "proto/control_types.h"
#include "proto/ids.h"
#include "proto/manifest.pb.h"
#include "proto/status.h"
#include "scheduler/stages.h"
#include "scheduler/state_store.h"

namespace emporium::scheduler {

// CheckpointManifest::scheduler_state: what cannot be known from the job and the position.
struct CheckpointState {
  std::string data_digest;  // of the data that the weights were trained on
  TrainCursor cursor;       // of the stage of the manifest
  friend bool operator==(const CheckpointState&, const CheckpointState&) = default;
};
std::string EncodeState(const CheckpointState& state);
// DataLoss when it is not the state of this version.
Result<CheckpointState> DecodeState(const std::string& bytes);

class CheckpointRun {
 public:
  CheckpointRun(uint64_t number, std::string dir, Position position, uint32_t shards,
                int64_t started_ms)
      : number_(number),
        dir_(std::move(dir)),
        position_(position),
        shards_(shards),
        started_ms_(started_ms) {}

  uint64_t number() const { return number_; }
  const std::string& dir() const { return dir_; }
  const Position& position() const { return position_; }
  int64_t started_ms() const { return started_ms_; }
  uint64_t bytes() const;

  // Takes a server's files, which must be those of shards [first_shard, first_shard + shards).
  Status AddFiles(int32_t first_shard, size_t shards, const std::vector<control::ShardFile>& files);
  // Why the checkpoint cannot become whole; the first reason is kept.
  void Fail(const std::string& why);
  const std::string& failure() const { return failure_; }

  // Completes `manifest`, in which job and scheduler state stand already. InvalidArgument when the
  // files do not make up the whole key space.
  Status FillManifest(uint32_t partitions, spec::CheckpointManifest* manifest) const;

 private:
  uint64_t number_;
  std::string dir_;
  Position position_;
  uint32_t shards_;
  int64_t started_ms_;
  std::string failure_;
  std::map<int32_t, control::ShardFile> files_;  // by shard
};

}  // namespace emporium::scheduler
