#include "worker/retrieval_parts.h"

#include <string>
#include <utility>

#include "proto/model_options.h"

namespace emporium::worker {
namespace {

constexpr double kDay = 86400;
constexpr size_t kCounterCacheBytes = 256u << 20;

Result<std::optional<FeatureKeys>> OptionalFeature(const Dataset& dataset, const spec::Job& job,
                                                   const std::string& name) {
  if (name.empty()) {
    return std::optional<FeatureKeys>();
  }
  EMPORIUM_ASSIGN_OR_RETURN(FeatureKeys keys, FeatureKeys::Create(dataset, job, name));
  return std::optional<FeatureKeys>(std::move(keys));
}

Status CheckShape(const std::optional<FeatureKeys>& feature, bool lists,
                  const std::string& option) {
  if (feature.has_value() && feature->lists() != lists) {
    return InvalidArgument(
        option + ": feature \"" + feature->name() +
        (lists ? "\" must have a TEXT column" : "\" must not have a TEXT column"));
  }
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<RetrievalColumns>> RetrievalColumns::Create(const Dataset& dataset,
                                                                   const spec::Job& job) {
  const spec::TwoTower& tower = job.model().two_tower();
  auto columns = std::make_unique<RetrievalColumns>();
  columns->dataset = &dataset;
  EMPORIUM_ASSIGN_OR_RETURN(columns->item_key,
                            ItemKeys(dataset, job, ItemOption(job).feature, &columns->item_table));
  const FeatureOption words = ItemWordsOption(job);
  EMPORIUM_ASSIGN_OR_RETURN(const auto title, OptionalFeature(dataset, job, words.feature));
  EMPORIUM_RETURN_IF_ERROR(CheckShape(title, true, words.path));
  columns->title_offset.push_back(0);
  if (title.has_value()) {
    columns->title_table = title->table();
    for (int32_t item = 0; item < dataset.items(); ++item) {
      title->Words(item, &columns->title_keys);
      columns->title_offset.push_back(columns->title_keys.size());
    }
  }
  EMPORIUM_ASSIGN_OR_RETURN(columns->action, OptionalFeature(dataset, job, tower.action_feature()));
  EMPORIUM_RETURN_IF_ERROR(CheckShape(columns->action, false, "model.two_tower.action_feature"));
  EMPORIUM_ASSIGN_OR_RETURN(columns->query, OptionalFeature(dataset, job, tower.query_feature()));
  EMPORIUM_RETURN_IF_ERROR(CheckShape(columns->query, true, "model.two_tower.query_feature"));
  for (const std::string& name : tower.context().feature()) {
    EMPORIUM_ASSIGN_OR_RETURN(FeatureKeys keys, FeatureKeys::Create(dataset, job, name));
    columns->context.push_back(std::move(keys));
  }
  EMPORIUM_ASSIGN_OR_RETURN(columns->history,
                            History::Create(dataset, job.data(), columns->query.has_value()));
  if (tower.popularity().counter_size() > 0) {
    EMPORIUM_ASSIGN_OR_RETURN(
        columns->counters,
        ItemCounters::Create(dataset, *columns->history, tower.popularity(), kCounterCacheBytes));
  }
  for (const spec::Table& table : job.table()) {
    columns->keeps_popularity.push_back(table.has_popularity());
  }
  columns->no_table.assign(columns->keeps_popularity.size(), false);
  return columns;
}

void RetrievalAssembler::AddHistory(const Reference& reference) {
  const Dataset& dataset = *columns_.dataset;
  columns_.history->Build(reference, &past_);
  models::HistoryColumns& history = batch_.history;
  for (const PastEvent& past : past_) {
    const auto event = static_cast<size_t>(past.event);
    const int32_t item = dataset.event_item()[event];
    history.item.push_back(item < 0 ? -1 : Item(item));
    history.age_days.push_back(
        static_cast<float>((reference.time - dataset.event_time()[event]) / kDay));
    history.count.push_back(past.count);
    if (columns_.action.has_value()) {
      action_keys_.push_back(columns_.action->Key(past.event));
    }
    if (columns_.query.has_value()) {
      if (item < 0) {
        columns_.query->Words(past.event, &query_keys_);
      }
      query_offset_.push_back(static_cast<int32_t>(query_keys_.size()));
    }
  }
  history.offset.push_back(static_cast<int32_t>(history.item.size()));
  ++batch_.samples;
}

void RetrievalAssembler::AddContext(std::span<const int32_t> events) {
  context_events_.assign(events.begin(), events.end());
}

void RetrievalAssembler::FinishItems(KeyPlan* plan) {
  models::ItemColumns& items = batch_.items;
  items.count = static_cast<int32_t>(items_.size());
  std::vector<uint64_t> keys;
  keys.reserve(items_.size());
  for (const uint64_t item : items_.values()) {
    keys.push_back(columns_.item_key[item]);
  }
  items.id = plan->Single(columns_.item_table, keys);
  if (!columns_.title_table.has_value()) {
    return;
  }
  keys.clear();
  std::vector<int32_t> offset{0};
  offset.reserve(items_.size() + 1);
  for (const uint64_t item : items_.values()) {
    const auto begin = columns_.title_keys.begin();
    keys.insert(keys.end(), begin + static_cast<std::ptrdiff_t>(columns_.title_offset[item]),
                begin + static_cast<std::ptrdiff_t>(columns_.title_offset[item + 1]));
    offset.push_back(static_cast<int32_t>(keys.size()));
  }
  items.title = plan->Lists(*columns_.title_table, keys, std::move(offset));
}

void RetrievalAssembler::FinishHistory(KeyPlan* plan) {
  if (columns_.action.has_value()) {
    batch_.history.action = plan->Single(columns_.action->table(), action_keys_);
  }
  if (columns_.query.has_value()) {
    batch_.history.query =
        plan->Lists(columns_.query->table(), query_keys_, std::move(query_offset_));
  }
  for (const FeatureKeys& feature : columns_.context) {
    if (context_events_.empty()) {
      break;
    }
    models::FieldColumn field;
    field.feature = feature.name();
    std::vector<uint64_t> keys;
    std::vector<int32_t> offset{0};
    for (const int32_t event : context_events_) {
      if (feature.lists()) {
        feature.Words(event, &keys);
      } else {
        keys.push_back(feature.Key(event));
      }
      offset.push_back(static_cast<int32_t>(keys.size()));
    }
    field.rows = plan->Lists(feature.table(), keys, std::move(offset));
    batch_.fields.push_back(std::move(field));
  }
}

PlannedBatch RetrievalAssembler::Finish(bool training, const std::vector<bool>& wanted) && {
  KeyPlan plan(training ? columns_.keeps_popularity : columns_.no_table);
  FinishItems(&plan);
  FinishHistory(&plan);
  for (const int32_t item : sighted_) {
    const auto i = static_cast<size_t>(item);
    const models::RowLists& id = batch_.items.id;
    plan.SightedOnce(id.table, id.index[i]);
    const models::RowLists& title = batch_.items.title;
    for (int32_t w = title.lists() > 0 ? title.offset[i] : 0;
         title.lists() > 0 && w < title.offset[i + 1]; ++w) {
      plan.SightedOnce(title.table, title.index[static_cast<size_t>(w)]);
    }
  }
  PlannedBatch planned;
  planned.batch = std::move(batch_);
  planned.tables = std::move(plan).Finish(wanted);
  return planned;
}

}  // namespace emporium::worker
