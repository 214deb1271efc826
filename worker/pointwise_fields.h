// The inputs of samples that are scored one by one, as a batch with its keys: a field for each
// feature over a table, FLOAT features and slots as dense inputs, both in the order of the features
// (InputFeatures, proto/model_options.h), and the place of each sample where the model asks for it.
// Immutable after Create; safe from any thread.
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
#include "worker/dataset.h"
#include "worker/feature_keys.h"
#include "worker/history.h"
#include "worker/key_plan.h"
#include "worker/slot_feed.h"

namespace emporium::worker {

// The events themselves are the first samples. Each further one is an event with another item in
// the place of its own: in ROW features over data.item_column and in ITEM features. It counts as
// shown where the event was.
struct PointwiseSamples {
  std::vector<int64_t> rows;
  std::vector<Reference> references;  // by event, as of which histories are taken; or nothing
  std::vector<int32_t> of;            // further samples: place of the event in `rows`
  std::vector<int32_t> item;          // ... and the item

  size_t size() const { return rows.size() + of.size(); }
};

class PointwiseFields {
 public:
  // `history` may be null where no feature is of source HISTORY. `other_items`: further samples
  // will occur. Refers to the three.
  static Result<std::unique_ptr<PointwiseFields>> Create(const Dataset& dataset,
                                                         const spec::Job& job,
                                                         const History* history, bool other_items);

  // Whether a feature is of source HISTORY, so that samples need references.
  bool histories() const { return histories_; }
  // The scenario of each event; empty where the job has none.
  const std::vector<uint8_t>& scenarios() const { return scenario_of_; }
  // All of a batch but labels and times. `training`: sightings and what feeds slots travel; both
  // are of the events alone.
  Result<PlannedBatch> Build(const PointwiseSamples& samples, bool training) const;

 private:
  struct Input {
    FeatureKeys keys;
    spec::FeatureSource source = spec::ROW;
    bool sighting = false;  // its keys are what the event is about
    bool sequence = false;  // of the events of the pairs' histories
    // By item: of a ROW feature over the item column, where other items occur.
    std::vector<uint64_t> item_key;

    bool of_item() const { return source == spec::ITEM || !item_key.empty(); }
  };
  struct SlotInput {
    size_t input = 0;  // index into inputs_
    uint32_t slot = 0;
    SlotForm form = SlotForm::kValue;
    uint32_t counter = 0;
  };
  // The histories of the events of a batch.
  struct Past {
    std::vector<int64_t> events;
    std::vector<int32_t> offset{0};
    std::vector<float> age_days;  // where the model asks
  };

  PointwiseFields(const Dataset& dataset, const spec::Job& job, const History* history)
      : dataset_(dataset), job_(job), history_(history) {}
  Status AddFeature(const spec::Feature& feature, bool sequence, bool other_items);
  Status AddSlotInputs(const spec::Feature& feature, TableId table);
  void AskOfTables();
  Past PastOf(const PointwiseSamples& samples) const;
  models::RowLists ListsOf(const Input& input, const PointwiseSamples& samples, const Past& past,
                           KeyPlan* plan) const;
  models::RowLists ListsOfEvents(const Input& input, std::span<const int64_t> rows,
                                 const Past& past, KeyPlan* plan) const;
  static models::RowLists ListsOfItems(const Input& input, std::span<const int32_t> items,
                                       KeyPlan* plan);
  Status ReadPlaces(const spec::PositionTower& tower);
  void FillDense(const PointwiseSamples& samples, models::Batch* batch) const;
  void FillScenariosAndPlaces(const PointwiseSamples& samples, models::Batch* batch) const;
  void FillEventAges(const PointwiseSamples& samples, const Past& past, models::Batch* batch) const;
  void FillSlotInputs(const PointwiseSamples& samples, PlannedBatch* planned) const;
  Status CheckSequences(const PointwiseSamples& samples, const models::Batch& batch) const;

  const Dataset& dataset_;
  const spec::Job& job_;
  const History* const history_;
  std::vector<Input> inputs_;
  size_t own_ = 0;                   // of inputs_: the model's; those of its position tower follow
  std::span<const int64_t> places_;  // by event; empty: the model asks for none
  bool histories_ = false;
  bool event_ages_ = false;
  bool tells_scenarios_ = false;
  std::vector<uint8_t> scenario_of_;  // by event
  std::vector<std::span<const float>> dense_;
  std::vector<SlotInput> slot_inputs_;  // dense inputs behind dense_
  SlotColumns slot_columns_;
  std::optional<TableId> linear_table_;
  // By table.
  std::vector<bool> keeps_popularity_;
  std::vector<bool> no_table_;
  std::vector<bool> reads_popularity_;
  std::vector<bool> reads_slots_;
};

}  // namespace emporium::worker
