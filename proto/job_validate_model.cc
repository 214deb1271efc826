// ValidateJob: the model's options against tables, features and data. Contract in
// proto/job_file.h. What only the model's own code can know is said by CreateModel.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "proto/job_validate.h"
#include "proto/model_options.h"

namespace emporium::validate {
namespace {

constexpr double kHuge = std::numeric_limits<float>::max();

void ExpectSource(const spec::Feature& feature, spec::FeatureSource source,
                  const std::string& field, Checker* check) {
  check->Expect(
      feature.source() == source, field,
      "feature \"" + feature.name() + "\" has source " + spec::FeatureSource_Name(feature.source()),
      "name a feature with source " + spec::FeatureSource_Name(source));
}

void ExpectText(const spec::Feature& feature, const std::string& field, Checker* check) {
  const spec::Column* column = check->ColumnOf(feature);
  check->Expect(column == nullptr || column->type() == spec::TEXT, field,
                "feature \"" + feature.name() + "\" is not over a TEXT column",
                "declare its column with type TEXT");
}

template <class Edges>
void CheckEdges(const Edges& edges, const std::string& field, Checker* check) {
  const bool ascending = std::adjacent_find(edges.begin(), edges.end(), [](float a, float b) {
                           return !(a < b);
                         }) == edges.end();
  check->Expect(ascending && (edges.empty() || edges[0] > 0), field,
                "edges do not ascend from above 0", "give edges such as 1, 7, 30");
}

// An item's id feature: returns the width of its rows, 0 when unknown.
uint32_t CheckItemFeature(Checker* check) {
  const FeatureOption option = ItemOption(check->job());
  const std::string& field = option.path;
  const spec::Data& data = check->job().data();
  if (option.feature.empty()) {
    check->Missing(field, "name the feature that gives an item's own row");
    return 0;
  }
  const spec::Feature* feature = Referred(option.feature, field, check);
  if (feature == nullptr) {
    return 0;
  }
  const std::string& key =
      feature->source() == spec::ITEM ? data.items_key_column() : data.item_column();
  check->Expect(feature->source() != spec::HISTORY && feature->column() == key, field,
                "feature \"" + feature->name() + "\" is not over the item's id",
                "use source ROW over data.item_column, or ITEM over data.items_key_column");
  const spec::Table* table = check->FindTable(feature->table());
  return table == nullptr ? 0 : table->dim();
}

// The feature of the words of items; null when there is none.
const spec::Feature* CheckItemWords(uint32_t item_dim, Checker* check) {
  const FeatureOption option = ItemWordsOption(check->job());
  if (!option.set) return nullptr;
  const spec::Feature* words = Referred(option.feature, option.path, check);
  if (words != nullptr) {
    ExpectSource(*words, spec::ITEM, option.path, check);
    ExpectText(*words, option.path, check);
    ExpectDim(*words, item_dim, "the item's table", option.path, check);
  }
  return words;
}

void CheckActionAndQuery(const spec::TwoTower& tower, const spec::Feature* title, uint32_t item_dim,
                         Checker* check) {
  const std::string path = "model.two_tower.";
  if (tower.has_action_feature()) {
    const spec::Feature* action = Referred(tower.action_feature(), path + "action_feature", check);
    if (action != nullptr) {
      ExpectSource(*action, spec::HISTORY, path + "action_feature", check);
    }
  }
  if (tower.has_query_feature()) {
    const spec::Feature* query = Referred(tower.query_feature(), path + "query_feature", check);
    if (query != nullptr) {
      ExpectSource(*query, spec::HISTORY, path + "query_feature", check);
      ExpectText(*query, path + "query_feature", check);
      check->Expect(title == nullptr || title->table() == query->table(), path + "query_feature",
                    "search words do not share the title's table",
                    "give both features the same table");
      ExpectDim(*query, item_dim, "the item's table", path + "query_feature", check);
    }
  }
}

void CheckUserTower(const spec::TwoTower& tower, uint32_t item_dim, Checker* check) {
  const spec::UserTower& user = tower.user_tower();
  const std::string path = "model.two_tower.user_tower";
  switch (user.kind_case()) {
    case spec::UserTower::kTransformer: {
      const spec::Transformer& t = user.transformer();
      check->ExpectRange(t.layers(), 1, 64, path + ".transformer.layers");
      check->ExpectRange(t.width(), 1, 4096, path + ".transformer.width");
      check->ExpectRange(t.feed_forward(), 1, 65536, path + ".transformer.feed_forward");
      check->ExpectProbability(t.dropout(), path + ".transformer.dropout");
      check->Expect(t.heads() > 0 && t.width() % t.heads() == 0, path + ".transformer.heads",
                    "width " + std::to_string(t.width()) + " is not a multiple of the heads",
                    "give heads that divide the width");
      CheckEdges(t.gap_edges_days(), path + ".transformer.gap_edges_days", check);
      const bool plain = tower.item_tower().kind_case() != spec::ItemTower::kResidual;
      check->Expect(!plain || item_dim == 0 || item_dim == t.width(), path + ".transformer.width",
                    "differs from the item table's dim " + std::to_string(item_dim) +
                        ", which a plain item tower keeps",
                    "make them equal, or use item_tower { residual {} }");
      break;
    }
    case spec::UserTower::kAgePooling:
      CheckEdges(user.age_pooling().age_edges_days(), path + ".age_pooling.age_edges_days", check);
      check->ExpectRange(user.age_pooling().max_count(), 1, 1e6, path + ".age_pooling.max_count");
      break;
    case spec::UserTower::KIND_NOT_SET:
      check->Missing(path, "name one: transformer {} or age_pooling {}");
      break;
  }
  check->ExpectProbability(user.history_dropout(), path + ".history_dropout");
  check->ExpectProbability(user.user_dropout(), path + ".user_dropout");
  if (tower.item_tower().has_residual()) {
    const spec::ItemTower::Residual& residual = tower.item_tower().residual();
    check->ExpectRange(residual.blocks(), 0, 64, "model.two_tower.item_tower.residual.blocks");
    check->ExpectRange(residual.multiple(), 1, 64, "model.two_tower.item_tower.residual.multiple");
  }
}

void CheckContext(const spec::ContextTower& context, Checker* check) {
  const std::string path = "model.two_tower.context";
  if (context.feature_size() == 0) {
    check->Missing(path + ".feature", "name the ROW features that it reads, or remove context");
  }
  check->ExpectRange(context.hidden(), 1, 65536, path + ".hidden");
  for (int i = 0; i < context.feature_size(); ++i) {
    const std::string field = At(path + ".feature", i);
    const spec::Feature* feature = Referred(context.feature(i), field, check);
    if (feature != nullptr) {
      ExpectSource(*feature, spec::ROW, field, check);
      check->Expect(feature->has_table(), field, "feature \"" + feature->name() + "\" has no table",
                    "give it a table");
    }
  }
}

void CheckPopularity(const spec::PopularityLogit& popularity, Checker* check) {
  const std::string path = "model.two_tower.popularity";
  if (popularity.counter_size() == 0) {
    check->Missing(path + ".counter",
                   "give counters such as counter { window_days: 30 }, or remove popularity");
  }
  for (int i = 0; i < popularity.counter_size(); ++i) {
    const spec::PopularityLogit::Counter& counter = popularity.counter(i);
    const std::string field = At(path + ".counter", i);
    switch (counter.kind_case()) {
      case spec::PopularityLogit::Counter::kWindowDays:
        check->Expect(counter.window_days() > 0 && counter.window_days() < kHuge,
                      field + ".window_days", "is not a number of days above 0",
                      "give the window's length in days");
        break;
      case spec::PopularityLogit::Counter::kHalfLifeDays:
        check->Expect(counter.half_life_days() > 0 && counter.half_life_days() < kHuge,
                      field + ".half_life_days", "is not a number of days above 0",
                      "give the half-life in days");
        break;
      case spec::PopularityLogit::Counter::KIND_NOT_SET:
        check->Missing(field, "set window_days or half_life_days");
        break;
    }
  }
}

// What the stages of a model that gives one user vector a sample may not ask for.
void CheckOneVector(Checker* check) {
  for (int i = 0; i < check->job().stage_size(); ++i) {
    check->Expect(!check->job().stage(i).train().sampled_softmax().every_position(),
                  At("stage", i) + ".train.sampled_softmax.every_position",
                  "a two_tower model has one user vector a sample, none for each event of it",
                  "remove it, or use a model such as sasrec");
  }
}

void CheckTwoTower(const spec::TwoTower& tower, uint32_t item_dim, const spec::Feature* title,
                   Checker* check) {
  CheckActionAndQuery(tower, title, item_dim, check);
  CheckUserTower(tower, item_dim, check);
  CheckOneVector(check);
  check->Expect(tower.initial_scale() >= 0.01F && tower.initial_scale() <= 100.0F,
                "model.two_tower.initial_scale", "is outside 0.01 to 100", "give a value inside");
  check->Expect(std::abs(tower.initial_shift()) <= 100.0F, "model.two_tower.initial_shift",
                "is outside -100 to 100", "give a value inside");
  if (tower.has_context()) {
    CheckContext(tower.context(), check);
  }
  if (tower.has_popularity()) {
    CheckPopularity(tower.popularity(), check);
  }
}

// What every model that ranks items needs: who did what when, and a row for each item.
void CheckRetrieval(Checker* check) {
  const spec::Job& job = check->job();
  const spec::Data& data = job.data();
  const auto needs = [&](bool there, const std::string& field, const std::string& why) {
    check->Expect(there, field, "a " + ModelName(job) + " model needs it: " + why, "set " + field);
  };
  needs(data.has_user_column(), "data.user_column", "whose history it is");
  needs(data.has_item_column(), "data.item_column", "what is recommended");
  needs(data.has_time_column(), "data.time_column", "what lies before what");
  needs(data.has_history(), "data.history", "it reads the past");
  check->Expect(!job.model().has_position(), "model.position",
                "a " + ModelName(job) + " model ranks items, it scores no samples", "remove it");
  check->Expect(!data.has_scenario() || data.split().has_leave_one_out(), "data.scenario",
                "a " + ModelName(job) + " model ranks the items of one held-out event's scenario",
                "use split { leave_one_out {} }, or remove it");
  const uint32_t item_dim = CheckItemFeature(check);
  const spec::Feature* words = CheckItemWords(item_dim, check);
  if (job.model().has_two_tower()) {
    CheckTwoTower(job.model().two_tower(), item_dim, words, check);
  }
}

}  // namespace

const spec::Feature* Referred(const std::string& name, const std::string& field, Checker* check) {
  const spec::Feature* feature = check->FindFeature(name);
  if (feature == nullptr) {
    std::vector<std::string> names;
    for (const spec::Feature& known : check->job().feature()) names.push_back(known.name());
    check->Add(field, "there is no feature \"" + name + "\"",
               Checker::Suggest(name, names, "declare the feature"));
  }
  return feature;
}

void ExpectDim(const spec::Feature& feature, uint32_t dim, const std::string& of,
               const std::string& field, Checker* check) {
  const spec::Table* table = check->FindTable(feature.table());
  if (table != nullptr && dim != 0 && table->dim() != dim) {
    check->Add(field,
               "table \"" + table->name() + "\" has dim " + std::to_string(table->dim()) + ", " +
                   of + " has " + std::to_string(dim),
               "give both tables the same dim");
  }
}

void CheckModel(Checker* check) {
  const spec::Model& model = check->job().model();
  if (model.kind_case() == spec::Model::KIND_NOT_SET) {
    check->Missing("model",
                   "name one, such as model { deepfm { ... } }; `emporium models` lists them");
  } else if (IsRetrieval(check->job())) {
    CheckRetrieval(check);
  } else {
    CheckPointwiseModel(check);
  }
}

}  // namespace emporium::validate
