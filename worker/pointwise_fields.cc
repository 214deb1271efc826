#include "worker/pointwise_fields.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "proto/check.h"
#include "proto/model_options.h"
#include "worker/scenarios.h"

namespace emporium::worker {
namespace {

constexpr double kSecondsPerDay = 86400;
constexpr size_t kAhead = 24;  // rows whose values are fetched before they are needed

SlotForm FormOf(const spec::SlotInput& input) {
  switch (input.as()) {
    case spec::SlotInput::VALUE:
      return input.log1p() ? SlotForm::kLog1p : SlotForm::kValue;
    case spec::SlotInput::IIF:
      return SlotForm::kIif;
    case spec::SlotInput::POPULARITY:
      return SlotForm::kPopularity;
    case spec::SlotInput::AGE:
      return SlotForm::kAge;
  }
  return SlotForm::kValue;
}

// Appends the lists of `more`, whose table is the same.
void Append(const models::RowLists& more, models::RowLists* lists) {
  const int32_t begin = lists->offset.back();
  lists->index.insert(lists->index.end(), more.index.begin(), more.index.end());
  for (size_t i = 1; i < more.offset.size(); ++i) lists->offset.push_back(begin + more.offset[i]);
}

// Appends the lists at `places` once more.
void Repeat(std::span<const int32_t> places, models::RowLists* lists) {
  for (const int32_t place : places) {
    const int32_t begin = lists->offset[static_cast<size_t>(place)];
    const int32_t end = lists->offset[static_cast<size_t>(place) + 1];
    for (int32_t k = begin; k < end; ++k) {
      lists->index.push_back(lists->index[static_cast<size_t>(k)]);
    }
    lists->offset.push_back(static_cast<int32_t>(lists->index.size()));
  }
}

// f(event) for each sample; a further sample has its event's.
template <class T, class F>
std::vector<T> OfEvents(const PointwiseSamples& samples, F f) {
  std::vector<T> values;
  values.reserve(samples.size());
  for (const int64_t row : samples.rows) values.push_back(f(static_cast<size_t>(row)));
  for (const int32_t place : samples.of) values.push_back(values[static_cast<size_t>(place)]);
  return values;
}

}  // namespace

Result<std::unique_ptr<PointwiseFields>> PointwiseFields::Create(const Dataset& dataset,
                                                                 const spec::Job& job,
                                                                 const History* history,
                                                                 bool other_items) {
  std::unique_ptr<PointwiseFields> fields(  // NOLINT: private constructor
      new PointwiseFields(dataset, job, history));
  const std::string path = "model." + ModelName(job);
  const std::vector<std::string> names = InputFeatures(job);
  const size_t own = names.size() - PositionFeatures(job).size();
  std::vector<std::string> sequences = {KindFeature(job)};
  for (const spec::TargetHistory& pair : SequencePairs(job)) sequences.push_back(pair.history());
  fields->AskOfTables();
  for (size_t i = 0; i < names.size(); ++i) {
    if (i == own) fields->own_ = fields->inputs_.size();
    const std::string& name = names[i];
    const spec::Feature* feature = FindFeatureSpec(job, name);
    if (feature == nullptr) {
      return InvalidArgument(path + ": there is no feature \"" + name +
                             "\"; add one or take it out");
    }
    const bool sequence = std::find(sequences.begin(), sequences.end(), name) != sequences.end();
    EMPORIUM_RETURN_IF_ERROR(fields->AddFeature(*feature, sequence, other_items));
  }
  if (own == names.size()) fields->own_ = fields->inputs_.size();
  if (job.model().has_position()) {
    EMPORIUM_RETURN_IF_ERROR(fields->ReadPlaces(job.model().position()));
  }
  fields->tells_scenarios_ = TellsScenarios(job);
  EMPORIUM_ASSIGN_OR_RETURN(fields->scenario_of_, ScenariosOf(dataset, job.data()));
  if (fields->tells_scenarios_ && fields->scenario_of_.empty()) {
    return InvalidArgument("data.scenario: a " + ModelName(job) +
                           " model tells scenarios apart; name their column and its values");
  }
  if (const std::string name = LinearTable(job); !name.empty()) {
    TableId linear;
    if (!FindTableId(job, name, &linear)) {
      return InvalidArgument(path + ".linear_table: there is no table \"" + name + "\"");
    }
    fields->linear_table_ = linear;
  }
  EMPORIUM_ASSIGN_OR_RETURN(fields->slot_columns_, SlotColumns::Create(dataset, job));
  return fields;
}

void PointwiseFields::AskOfTables() {
  event_ages_ = ReadsEventAges(job_);
  const std::string popular = PopularityTable(job_);
  for (const spec::Table& table : job_.table()) {
    keeps_popularity_.push_back(table.has_popularity());
    no_table_.push_back(false);
    reads_popularity_.push_back(table.name() == popular);
    reads_slots_.push_back(std::any_of(table.slot().begin(), table.slot().end(),
                                       [](const spec::Slot& slot) { return slot.fed_by_model(); }));
  }
}

Status PointwiseFields::AddFeature(const spec::Feature& feature, bool sequence, bool other_items) {
  const auto events = static_cast<size_t>(dataset_.events());
  const std::string what = "feature \"" + feature.name() + "\": ";
  if (feature.source() == spec::ROW) {
    EMPORIUM_ASSIGN_OR_RETURN(const ColumnView view, dataset_.event_column(feature.column()));
    if (view.type == spec::FLOAT) {
      if (view.floats.size() != events) {
        return InvalidArgument(what + "the time column is no dense input");
      }
      dense_.push_back(view.floats);
      return Status::Ok();
    }
  }
  EMPORIUM_ASSIGN_OR_RETURN(FeatureKeys keys, FeatureKeys::Create(dataset_, job_, feature.name()));
  Input input{std::move(keys), feature.source(), feature.sighting(), sequence, {}};
  if (feature.source() == spec::HISTORY) {
    if (input.keys.lists()) {
      return InvalidArgument(what + "a history has one key an event; take no TEXT column");
    }
    input.sighting = false;
    histories_ = true;
    EMPORIUM_CHECK(history_ != nullptr, "a HISTORY feature comes with histories");
  } else if (feature.source() == spec::ITEM && dataset_.event_item().size() != events) {
    return InvalidArgument(what + "the events have no item; set data.item_column");
  } else if (feature.source() == spec::ROW && other_items &&
             feature.column() == job_.data().item_column()) {
    TableId table;
    EMPORIUM_ASSIGN_OR_RETURN(input.item_key, ItemKeys(dataset_, job_, feature.name(), &table));
  }
  EMPORIUM_RETURN_IF_ERROR(AddSlotInputs(feature, input.keys.table()));
  inputs_.push_back(std::move(input));
  return Status::Ok();
}

Status PointwiseFields::AddSlotInputs(const spec::Feature& feature, TableId table) {
  const spec::Table& spec = job_.table(table.value());
  for (const spec::SlotInput& input : feature.slot_input()) {
    SlotInput found{.input = inputs_.size(), .form = FormOf(input)};
    const auto slot = std::find_if(
        spec.slot().begin(), spec.slot().end(),
        [&input](const spec::Slot& candidate) { return candidate.name() == input.slot(); });
    if (slot == spec.slot().end()) {
      return InvalidArgument("feature \"" + feature.name() + "\": table \"" + spec.name() +
                             "\" has no slot \"" + input.slot() + "\"");
    }
    found.slot = static_cast<uint32_t>(slot - spec.slot().begin());
    found.counter =
        static_cast<uint32_t>(std::count_if(spec.slot().begin(), slot, [](const spec::Slot& s) {
          return s.update() == spec::Slot::ADD;
        }));
    slot_inputs_.push_back(found);
    reads_slots_[table.value()] = true;
  }
  return Status::Ok();
}

Status PointwiseFields::ReadPlaces(const spec::PositionTower& tower) {
  EMPORIUM_ASSIGN_OR_RETURN(const ColumnView view, dataset_.event_column(tower.column()));
  if (view.ints.size() != static_cast<size_t>(dataset_.events())) {
    return InvalidArgument("model.position.column: \"" + tower.column() +
                           "\" must be an INT column of data.events");
  }
  places_ = view.ints;
  return Status::Ok();
}

PointwiseFields::Past PointwiseFields::PastOf(const PointwiseSamples& samples) const {
  Past past;
  if (!histories_) return past;
  EMPORIUM_CHECK(samples.references.size() == samples.rows.size(), "every event has a reference");
  std::vector<PastEvent> of_event;
  for (const Reference& reference : samples.references) {
    history_->Build(reference, &of_event);
    for (const PastEvent& event : of_event) {
      past.events.push_back(event.event);
      if (!event_ages_) continue;
      const double time = dataset_.event_time()[static_cast<size_t>(event.event)];
      past.age_days.push_back(
          static_cast<float>(std::max(reference.time - time, 0.0) / kSecondsPerDay));
    }
    past.offset.push_back(static_cast<int32_t>(past.events.size()));
  }
  return past;
}

models::RowLists PointwiseFields::ListsOfItems(const Input& input, std::span<const int32_t> items,
                                               KeyPlan* plan) {
  std::vector<uint64_t> keys;
  std::vector<int32_t> offset{0};
  for (const int32_t item : items) {
    if (!input.item_key.empty()) {
      keys.push_back(input.item_key[static_cast<size_t>(item)]);
    } else if (!input.keys.lists()) {
      keys.push_back(item < 0 ? input.keys.none() : input.keys.Key(item));
    } else if (item >= 0) {
      input.keys.Words(item, &keys);
    }
    offset.push_back(static_cast<int32_t>(keys.size()));
  }
  return plan->Lists(input.keys.table(), keys, std::move(offset));
}

models::RowLists PointwiseFields::ListsOfEvents(const Input& input, std::span<const int64_t> rows,
                                                const Past& past, KeyPlan* plan) const {
  std::vector<uint64_t> keys;
  if (input.source == spec::HISTORY) {
    input.keys.Keys(past.events, &keys);
    return plan->Lists(input.keys.table(), keys, past.offset);
  }
  if (input.source == spec::ITEM) {
    std::vector<int32_t> items;
    items.reserve(rows.size());
    for (const int64_t row : rows) {
      items.push_back(dataset_.event_item()[static_cast<size_t>(row)]);
    }
    return ListsOfItems(input, items, plan);
  }
  if (!input.keys.lists()) {
    input.keys.Keys(rows, &keys);
    return plan->Single(input.keys.table(), keys);
  }
  std::vector<int32_t> offset;
  input.keys.Words(rows, &keys, &offset);
  return plan->Lists(input.keys.table(), keys, std::move(offset));
}

models::RowLists PointwiseFields::ListsOf(const Input& input, const PointwiseSamples& samples,
                                          const Past& past, KeyPlan* plan) const {
  models::RowLists lists = ListsOfEvents(input, samples.rows, past, plan);
  if (samples.of.empty()) return lists;
  if (input.of_item()) {
    Append(ListsOfItems(input, samples.item, plan), &lists);
  } else {
    Repeat(samples.of, &lists);
  }
  return lists;
}

void PointwiseFields::FillDense(const PointwiseSamples& samples, models::Batch* batch) const {
  const std::vector<int64_t>& rows = samples.rows;
  const size_t width = dense_.size() + slot_inputs_.size();
  batch->dense_width = static_cast<int32_t>(width);
  batch->dense.resize(samples.size() * width);
  for (size_t d = 0; d < dense_.size(); ++d) {
    for (size_t i = 0; i < rows.size(); ++i) {
      if (i + kAhead < rows.size()) {
        __builtin_prefetch(&dense_[d][static_cast<size_t>(rows[i + kAhead])]);
      }
      batch->dense[i * width + d] = dense_[d][static_cast<size_t>(rows[i])];
    }
  }
  float* to = batch->dense.data() + rows.size() * width;
  for (const int32_t place : samples.of) {
    to = std::copy_n(batch->dense.data() + static_cast<size_t>(place) * width, width, to);
  }
}

void PointwiseFields::FillScenariosAndPlaces(const PointwiseSamples& samples,
                                             models::Batch* batch) const {
  if (tells_scenarios_) {
    const auto of_event = [this](size_t event) { return int32_t{scenario_of_[event]}; };
    batch->scenario = OfEvents<int32_t>(samples, of_event);
  }
  if (places_.empty()) return;
  static constexpr int64_t kLast = std::numeric_limits<int32_t>::max();
  batch->place = OfEvents<int32_t>(samples, [this](size_t event) {
    return static_cast<int32_t>(std::clamp(places_[event], int64_t{0}, kLast));
  });
}

void PointwiseFields::FillEventAges(const PointwiseSamples& samples, const Past& past,
                                    models::Batch* batch) const {
  if (!event_ages_) return;
  batch->event_age_days = past.age_days;
  for (const int32_t place : samples.of) {
    const auto at = static_cast<size_t>(place);
    for (int32_t k = past.offset[at]; k < past.offset[at + 1]; ++k) {
      batch->event_age_days.push_back(past.age_days[static_cast<size_t>(k)]);
    }
  }
}

Result<PlannedBatch> PointwiseFields::Build(const PointwiseSamples& samples, bool training) const {
  PlannedBatch planned;
  models::Batch& batch = planned.batch;
  batch.samples = static_cast<int32_t>(samples.size());
  FillDense(samples, &batch);
  FillScenariosAndPlaces(samples, &batch);
  KeyPlan plan(training ? keeps_popularity_ : no_table_);
  for (const Input& input : inputs_) plan.Expect(input.keys.table(), samples.rows.size());
  const Past past = PastOf(samples);
  for (const Input& input : inputs_) {
    batch.fields.push_back({input.keys.name(), ListsOf(input, samples, past, &plan)});
  }
  EMPORIUM_RETURN_IF_ERROR(CheckSequences(samples, batch));
  FillEventAges(samples, past, &batch);
  for (size_t f = 0; linear_table_.has_value() && f < own_; ++f) {
    batch.fields.push_back(
        {batch.fields[f].feature, plan.Mirror(*linear_table_, batch.fields[f].rows)});
  }
  SlotFeed feed(slot_columns_);
  if (training) {
    std::vector<const models::RowLists*> about;
    for (size_t f = 0; f < batch.fields.size(); ++f) {
      if (inputs_[f % inputs_.size()].sighting) about.push_back(&batch.fields[f].rows);
    }
    for (const models::RowLists* lists : about) plan.Sighted(*lists, samples.rows.size());
    feed.Observe(about, samples.rows);
  }
  planned.tables = std::move(plan).Finish(reads_popularity_);
  if (training) feed.Finish(&planned.tables);
  FillSlotInputs(samples, &planned);
  return planned;
}

// The histories of pairs are of the same events, whatever their source.
Status PointwiseFields::CheckSequences(const PointwiseSamples& samples,
                                       const models::Batch& batch) const {
  const models::FieldColumn* first = nullptr;
  for (size_t f = 0; f < inputs_.size(); ++f) {
    if (!inputs_[f].sequence) continue;
    const models::FieldColumn& field = batch.fields[f];
    if (first == nullptr) first = &field;
    if (field.rows.offset == first->rows.offset) continue;
    const auto differ = std::mismatch(field.rows.offset.begin(), field.rows.offset.end(),
                                      first->rows.offset.begin());
    const auto sample = static_cast<size_t>(differ.first - field.rows.offset.begin()) - 1;
    return InvalidArgument("features \"" + first->feature + "\" and \"" + field.feature +
                           "\": event " + std::to_string(samples.rows[sample]) +
                           " has not equally many keys in both; histories of pairs are of the "
                           "same events");
  }
  return Status::Ok();
}

void PointwiseFields::FillSlotInputs(const PointwiseSamples& samples, PlannedBatch* planned) const {
  for (TableKeys& table : planned->tables) {
    if (!reads_slots_[table.table.value()]) continue;
    const spec::Table& spec = job_.table(table.table.value());
    table.want_slots = static_cast<uint32_t>(spec.slot_size());
    table.want_totals = CountersOf(spec);
  }
  auto column = static_cast<int32_t>(dense_.size());
  bool ages = false;
  for (const SlotInput& input : slot_inputs_) {
    const models::RowLists& of_feature = planned->batch.fields[input.input].rows;
    planned->slots.columns.push_back({column++, of_feature, input.slot, input.form, input.counter});
    ages = ages || input.form == SlotForm::kAge;
  }
  if (!ages) return;
  planned->slots.time =
      OfEvents<double>(samples, [this](size_t event) { return dataset_.event_time()[event]; });
}

}  // namespace emporium::worker
