// Retrieval data as evaluation and export see it: users with their histories and targets as of a
// cut, the catalogue, users as of now. Chunks are fixed lists, a function of the data alone.
// Immutable after Create; safe from any thread.
//
// A user takes part in an evaluation when he has a history before the cut and at least one target.
// Targets are the distinct items of his events behind the cut (leave-one-out: of the held-out
// event; none when that is a search). With new_items_only, items that he had before are neither
// targets nor ranked. With data.scenario, items without an event in the scenario of the target (of
// leave-one-out: there is one) are not ranked. A slice is the value of the column in the event of
// his first target.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/retrieval_parts.h"

namespace emporium::worker {

class RetrievalEval {
 public:
  static constexpr int64_t kUserChunk = 256;
  static constexpr int64_t kItemChunk = 1024;

  // `columns` outlives this.
  static Result<std::unique_ptr<RetrievalEval>> Create(const RetrievalColumns& columns,
                                                       const spec::Job& job);
  int64_t EvalChunks(StageId stage, EvalSplit split) const;
  Result<EvalBatch> Eval(StageId stage, EvalSplit split, int64_t chunk) const;
  int64_t ItemChunks() const;
  Result<ItemBatch> Items(int64_t chunk, AsOf as_of) const;
  int64_t UserChunks() const;
  Result<PlannedBatch> Users(int64_t chunk, AsOf as_of, std::vector<int32_t>* user_ids) const;

 private:
  struct Evaluation {
    bool new_items_only = true;
    uint32_t sampled_negatives = 0;
    std::vector<std::span<const int32_t>> slices;  // codes by event
    std::vector<int32_t> users;
  };
  RetrievalEval(const RetrievalColumns& columns, uint64_t seed) : columns_(columns), seed_(seed) {}
  size_t ScenarioOf(int64_t event) const {
    return scenario_of_.empty() ? 0 : scenario_of_[static_cast<size_t>(event)];
  }
  // Appends what is not ranked beside the target in this event.
  void Mask(const Evaluation& evaluation, const Reference& reference, int32_t target_event,
            std::vector<int32_t>* masked) const;
  Status AddEvaluation(uint32_t stage, EvalSplit split, const spec::Evaluate& spec);
  // Items to be found by the user and the event that each came from.
  void FindTargets(int32_t user, EvalSplit split, bool new_items_only, std::vector<int32_t>* items,
                   int32_t* first_event) const;

  const RetrievalColumns& columns_;
  const uint64_t seed_;
  std::vector<uint8_t> scenario_of_;         // by event; empty: no scenarios
  std::vector<std::vector<int32_t>> items_;  // [scenarios][...] that are ranked, ascending
  std::map<std::pair<uint32_t, EvalSplit>, Evaluation> evaluations_;
};

}  // namespace emporium::worker
