// Metrics of a model that scores samples, put together from the chunks of an evaluation. For each
// task, exact over all its rows:
//
//   auc, logloss, rows      auc is left out where a class is missing
//   gauc, gauc_left_out     mean AUC over users with both labels, weighted by their rows, and the
//   share s_gauc, s_gauc_left_out of rows left out; s_gauc: over the values of data.group_column
//   pcoc                    sum of predictions / sum of labels, also by the popularity of the item
//   among
//                           the training samples: "pcoc[popularity=top 1%]", "1-20%", "20-100%"
//   rmse, rows              of a LOG1P task
//   sampledN_hr@k, ...      hr@k, ndcg@k and mrr of the positives, each ranked among the N items
//   that
//                           were sampled for it
//
// Without labels every row is a positive, so only the ranks and `rows` say anything.
// With several tasks a metric's name ends in "[task=NAME]", for the product that an entire_space
// task is trained on in "[task=NAME,joint]"; slices in "[COLUMN=value]" or
// "[task=NAME,COLUMN=value]". Rows run in the order of chunks, groups in that of their numbers: the
// same bits whoever computed what. Pure functions; any thread.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "models/model.h"
#include "proto/control_types.h"
#include "proto/status.h"
#include "worker/eval_blob.h"
#include "worker/stage_bodies.h"

namespace emporium::worker {

struct PointwiseMetrics {
  std::span<const models::Task> tasks;
  std::vector<std::string> grouped;        // names of the chunks' groupings
  std::vector<std::string> slice_columns;  // of the chunks' columns
  bool labelled = true;
  uint32_t sampled_negatives = 0;      // 0: rows have no ranks
  std::vector<uint32_t> cutoffs = {};  // of their metrics
};

// Rank of an item with score `own` among others, from 1; ties to the lower number.
uint32_t RankAmong(float own, int32_t item, std::span<const float> scores,
                   std::span<const int32_t> items);

Result<std::vector<control::Metric>> CombinePointwise(const PointwiseMetrics& wanted, int64_t count,
                                                      const ChunkSource& chunks);

}  // namespace emporium::worker
