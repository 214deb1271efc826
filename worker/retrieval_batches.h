// Training micro-batches of retrieval data: samples with histories, candidates and negatives for
// the sampled softmax, labelled groups for the ranking losses. See models/batch.h for what the
// columns mean. Immutable after Create; safe from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/negatives.h"
#include "worker/retrieval_parts.h"
#include "worker/training_samples.h"

namespace emporium::worker {

class RetrievalBatches {
 public:
  // `columns` outlives this.
  static Result<std::unique_ptr<RetrievalBatches>> Create(const RetrievalColumns& columns,
                                                          const spec::Job& job);
  StagePlan plan(StageId stage) const;
  Result<PlannedBatch> Train(StageId stage, Step step, MicroBatch m) const;
  // The events of the samples that Train takes.
  std::vector<int64_t> EventsOf(StageId stage, Step step, MicroBatch m) const;

 private:
  struct TrainStage {
    spec::Train spec;
    StagePlan plan;
    TrainingSamples samples;
    NegativeSampler negatives;
    std::vector<uint8_t> labels;          // ranking: by event; empty: all are positive
    std::vector<bool> wanted_popularity;  // by table
  };
  // A micro-batch while it is made.
  struct Work {
    const TrainStage& stage;
    std::vector<uint64_t> samples;
    std::vector<uint64_t> rows;  // of the samples (worker/training_samples.h)
    RetrievalAssembler assembler;
    RandomStream random;
    std::vector<std::vector<int32_t>> positives;  // items by row, ascending
    Interner candidates;                          // items
  };

  RetrievalBatches(const RetrievalColumns& columns, uint64_t seed)
      : columns_(columns), seed_(seed) {}
  Status AddStage(const spec::Job& job, StageId stage);
  std::vector<uint64_t> Pick(StageId stage, Step step, MicroBatch m) const;
  void AddHistories(Work* work) const;
  void FindPositives(Work* work) const;
  void Softmax(Work* work) const;
  void MaskRow(Work* work, size_t row, std::vector<size_t>* row_of_positive) const;
  void Ranking(Work* work) const;
  void DrawForRow(Work* work, size_t row, std::vector<int32_t>* negatives) const;
  void LogCounts(Work* work, bool every_pair) const;

  const RetrievalColumns& columns_;
  const uint64_t seed_;
  std::map<uint32_t, TrainStage> stages_;
};

}  // namespace emporium::worker
