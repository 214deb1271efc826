// The parts that every retrieval batch is made of: items with their id and title keys, histories
// with actions and queries, context. RetrievalColumns is made once and immutable (any thread);
// a RetrievalAssembler builds one batch and belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "models/batch.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/counters.h"
#include "worker/dataset.h"
#include "worker/feature_keys.h"
#include "worker/history.h"
#include "worker/key_plan.h"

namespace emporium::worker {

// What the job's model reads of the data.
struct RetrievalColumns {
  static Result<std::unique_ptr<RetrievalColumns>> Create(const Dataset& dataset,
                                                          const spec::Job& job);

  const Dataset* dataset = nullptr;
  TableId item_table;
  std::vector<uint64_t> item_key;  // by item
  std::optional<TableId> title_table;
  std::vector<uint64_t> title_keys;  // ragged by item
  std::vector<size_t> title_offset;
  std::optional<FeatureKeys> action;
  std::optional<FeatureKeys> query;
  std::vector<FeatureKeys> context;
  std::unique_ptr<History> history;
  std::unique_ptr<ItemCounters> counters;  // null: the model has none
  std::vector<bool> keeps_popularity;      // by table
  std::vector<bool> no_table;              // by table: false
};

class RetrievalAssembler {
 public:
  explicit RetrievalAssembler(const RetrievalColumns& columns) : columns_(columns) {
    batch_.history.offset.push_back(0);
  }

  // Index of an item among the batch's items.
  int32_t Item(int32_t item) { return items_.Index(static_cast<uint64_t>(item)); }
  // The next sample's history as of `reference`.
  void AddHistory(const Reference& reference);
  // Context of the samples: the rows of their events, one a sample.
  void AddContext(std::span<const int32_t> events);
  // One positive sighting of an item.
  void Sighted(int32_t item) { sighted_.push_back(Item(item)); }
  models::Batch& batch() { return batch_; }

  // `training`: sightings travel. `wanted`: tables whose popularity the model needs, by table.
  PlannedBatch Finish(bool training, const std::vector<bool>& wanted) &&;

 private:
  void FinishItems(KeyPlan* plan);
  void FinishHistory(KeyPlan* plan);

  const RetrievalColumns& columns_;
  models::Batch batch_;
  Interner items_;
  std::vector<int32_t> sighted_;  // indices of batch items
  std::vector<PastEvent> past_;
  std::vector<uint64_t> action_keys_;
  std::vector<uint64_t> query_keys_;
  std::vector<int32_t> query_offset_{0};
  std::vector<int32_t> context_events_;
};

}  // namespace emporium::worker
