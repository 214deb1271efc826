// Evaluation of a model, chunk by chunk, and the merging of the chunks.
//
// Retrieval: every user of the chunk is ranked against the whole catalogue (worker/ranking.h), ties
// to the lower item number. The popularity part of a logit takes its counters as of the cut or,
// where samples have times of their own (leave-one-out), as of the user's; metrics are hr@k,
// ndcg@k, recall@k, mrr and users, and the floors' (worker/floors.h) under their prefixes. Users
// without a target do not count. With sampled negatives each target is also ranked among those
// alone: sampledN_hr@k, ... Pointwise: worker/pointwise_eval.h. Each again by the values of the
// slice columns: "ndcg@10[country=France]".
//
// Chunks are a function of the data, sums of a chunk run in its order and chunks are merged in
// theirs: so the metrics have the same bits whoever computed what.
//
// One thread at a time. Job, source and model must outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "proto/control_types.h"
#include "proto/ids.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/eval_blob.h"
#include "worker/floors.h"
#include "worker/ranking.h"
#include "worker/row_source.h"
#include "worker/scorer.h"
#include "worker/stage_bodies.h"
#include "worker/user_ranks.h"

namespace emporium::worker {

// What an evaluation is to report: an evaluate stage's settings, or those of a validation.
struct EvalSettings {
  EvalSplit split = EvalSplit::kTest;
  std::vector<uint32_t> cutoffs;
  std::vector<std::string> slice_columns;
  bool floors = false;
  std::vector<double> floor_days;
  uint32_t sampled_negatives = 0;
};

// InvalidArgument when the stage has no such evaluation. A validation reports cut-off 10 and the
// one of its early stop's metric, without slices and floors. No cut-offs: 10. No floor windows: 0.
Result<EvalSettings> EvalSettingsOf(const spec::Job& job, StageId stage, bool validation);

class Evaluator {
 public:
  Evaluator(const spec::Job& job, const BatchSource& source, models::Model& model);

  // The weights may have changed: item vectors are computed again.
  void Begin();
  Result<std::string> Chunk(StageId stage, bool validation, int64_t chunk, RowSource& rows);
  Result<std::vector<control::Metric>> Combine(StageId stage, bool validation,
                                               const ChunkSource& chunks) const;

 private:
  Result<std::string> RankingResult(const EvalSettings& settings, const EvalBatch& batch,
                                    RowSource& rows);
  Result<std::string> PointwiseResult(const EvalSettings& settings, const EvalBatch& batch,
                                      RowSource& rows);
  Result<std::vector<UserRanks>> RankByModel(const EvalBatch& batch, RowSource& rows);
  Status ComputeItems(EvalSplit split, RowSource& rows);
  Status PrepareFloors(const EvalSettings& settings);
  std::string SliceText(const EvalSettings& settings, size_t column, int32_t code) const;

  const spec::Job& job_;
  const BatchSource& source_;
  Scorer scorer_;
  // Vectors of the catalogue as of the cut of a split, since Begin.
  std::optional<std::pair<EvalSplit, ItemMatrix>> items_;
  // The floors are a function of the data and the settings; kept for the next chunk.
  struct FloorsOf {
    EvalSplit split;
    std::vector<double> days;
    Floors floors;
  };
  std::optional<FloorsOf> floors_;
};

}  // namespace emporium::worker
