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

// The files of a whole checkpoint, as its manifest names them.
struct SavedFiles {
  uint64_t number = 0;  // of the checkpoint; 0: there is none
  std::vector<spec::ManifestFile> files;
  // The longest row of changes on changes.
  uint32_t deltas() const;
};

class CheckpointRun {
 public:
  // `saved`: whose changes suffice; number 0: all rows are wanted.
  CheckpointRun(uint64_t number, std::string dir, Position position, uint32_t shards,
                int64_t started_ms, SavedFiles saved)
      : number_(number),
        dir_(std::move(dir)),
        position_(position),
        shards_(shards),
        started_ms_(started_ms),
        saved_(std::move(saved)) {}

  uint64_t number() const { return number_; }
  const std::string& dir() const { return dir_; }
  const Position& position() const { return position_; }
  int64_t started_ms() const { return started_ms_; }
  uint64_t parent() const { return saved_.number; }
  uint64_t bytes() const;  // that were written for it

  // Takes a server's files, which must be those of shards [first_shard, first_shard + shards); once
  // they are here they are not taken again.
  Status AddFiles(int32_t first_shard, size_t shards, const std::vector<control::ShardFile>& files);
  // Every shard's file is here.
  bool complete() const { return files_.size() == shards_; }
  // Why the checkpoint cannot become whole; the first reason is kept.
  void Fail(const std::string& why);
  const std::string& failure() const { return failure_; }

  // Completes `manifest`, in which job and scheduler state stand already; `links` gets the files of
  // the parent that are to be in the directory too: name there -> name in the parent's.
  // InvalidArgument when the files do not make up the whole key space.
  Status FillManifest(uint32_t partitions, spec::CheckpointManifest* manifest,
                      std::map<std::string, std::string>* links) const;

 private:
  Status AddParents(int32_t shard, spec::CheckpointManifest* manifest,
                    std::map<std::string, std::string>* links) const;

  uint64_t number_;
  std::string dir_;
  Position position_;
  uint32_t shards_;
  int64_t started_ms_;
  SavedFiles saved_;
  std::string failure_;
  std::map<int32_t, control::ShardFile> files_;  // by shard
};

}  // namespace emporium::scheduler
