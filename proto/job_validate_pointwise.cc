// ValidateJob: models that score samples one by one, against features and data. Contract in
// proto/job_file.h. What only the model's own code can know is said by CreateModel.
#include <algorithm>
#include <string>

#include "proto/job_validate.h"
#include "proto/model_options.h"

namespace emporium::validate {
namespace {

// What a feature of each source asks of the data.
void CheckInput(const spec::Feature& feature, const std::string& field, Checker* check) {
  const spec::Column* column = check->ColumnOf(feature);
  const std::string name = "feature \"" + feature.name() + "\"";
  if (feature.source() == spec::HISTORY) {
    check->Expect(column == nullptr || column->type() != spec::TEXT, field,
                  name + " has several keys for each event of the history",
                  "give its column another type than TEXT");
    ExpectUserItemTime(field, name + " reads the user's earlier events", check);
  } else if (feature.source() == spec::ITEM) {
    check->Expect(check->job().data().has_item_column(), field,
                  name + " reads the event's item, and events have none", "set data.item_column");
  }
}

// Features that exist, and a linear table of width 1. Returns the features that enter beside pairs.
std::vector<const spec::Feature*> CheckInputs(Checker* check) {
  const spec::Job& job = check->job();
  const std::string path = "model." + ModelName(job);
  std::vector<const spec::Feature*> used;
  const std::vector<std::string> names = PlainFeatures(job);
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string field = At(path + ".feature", static_cast<int>(i));
    const spec::Feature* feature = Referred(names[i], field, check);
    if (feature == nullptr) continue;
    CheckInput(*feature, field, check);
    used.push_back(feature);
  }
  check->Expect(!InputFeatures(job).empty(), path, "no feature enters the model",
                "declare features");
  if (const std::string name = LinearTable(job); !name.empty()) {
    const spec::Table* linear = check->FindTable(name);
    check->Expect(linear != nullptr && linear->dim() == 1, path + ".linear_table",
                  "\"" + name + "\" is not a table with dim 1",
                  "declare a table with this name and dim: 1");
  }
  return used;
}

void CheckDeepFm(const spec::DeepFm& deepfm, const std::vector<const spec::Feature*>& used,
                 Checker* check) {
  const std::string path = "model.deepfm";
  uint32_t dim = 0;
  for (const spec::Feature* feature : used) {
    const spec::Table* table = check->FindTable(feature->table());
    if (table != nullptr) {
      ExpectDim(*feature, dim, "an earlier feature's table", path, check);
      dim = table->dim();
    }
  }
  check->Expect(deepfm.has_linear_table() || deepfm.fm() || deepfm.hidden_size() > 0 ||
                    deepfm.mlp().hidden_size() > 0,
                path, "linear, fm and MLP parts are all off", "switch one on");
  for (int i = 0; i < deepfm.hidden_size(); ++i) {
    check->ExpectRange(deepfm.hidden(i), 1, 65536, At(path + ".hidden", i));
  }
  check->ExpectProbability(deepfm.dropout(), path + ".dropout");
}

void CheckPair(const spec::TargetHistory& pair, const std::string& path, Checker* check) {
  if (pair.target().empty()) check->Missing(path + ".target", "name the feature of the target");
  if (pair.history().empty()) check->Missing(path + ".history", "name the feature of the history");
  if (pair.target().empty() || pair.history().empty()) return;
  const spec::Feature* target = Referred(pair.target(), path + ".target", check);
  const spec::Feature* history = Referred(pair.history(), path + ".history", check);
  const auto is_text = [check](const spec::Feature& feature) {
    const spec::Column* column = check->ColumnOf(feature);
    return column != nullptr && column->type() == spec::TEXT;
  };
  if (target != nullptr) {
    CheckInput(*target, path + ".target", check);
    check->Expect(target->source() != spec::HISTORY && !is_text(*target), path + ".target",
                  "feature \"" + target->name() + "\" is not one key of the sample",
                  "name a ROW or ITEM feature over a STRING or INT column");
  }
  if (history != nullptr) {
    CheckInput(*history, path + ".history", check);
    check->Expect(
        history->source() == spec::HISTORY || (history->source() == spec::ROW && is_text(*history)),
        path + ".history", "feature \"" + history->name() + "\" is no sequence",
        "name a HISTORY feature, or a ROW feature over a TEXT column");
  }
  if (target == nullptr || history == nullptr) return;
  check->Expect(
      target->has_table() && target->table() == history->table() &&
          target->salt() == history->salt() && target->hashing() == history->hashing(),
      path, "\"" + target->name() + "\" and \"" + history->name() + "\" do not share their rows",
      "give both features one table, salt and hashing");
}

// Each feature in one role only.
void CheckRoles(Checker* check) {
  std::vector<std::string> names = InputFeatures(check->job());
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  check->Expect(twice == names.end() || twice->empty(), "model." + ModelName(check->job()),
                "feature \"" + (twice == names.end() ? "" : *twice) + "\" enters twice",
                "name it once, in `feature`, in a pair or in position.with");
}

void CheckPairs(Checker* check) {
  const std::string path = "model." + ModelName(check->job());
  const std::vector<spec::TargetHistory> pairs = SequencePairs(check->job());
  if (pairs.empty()) check->Missing(path + ".pair", "name a target feature and its history");
  for (size_t p = 0; p < pairs.size(); ++p) {
    CheckPair(pairs[p], At(path + ".pair", static_cast<int>(p)), check);
  }
  for (const std::string& name : QueryFeatures(check->job())) {
    const spec::Feature* feature = Referred(name, path + ".query", check);
    if (feature != nullptr) CheckInput(*feature, path + ".query", check);
  }
  if (const std::string name = KindFeature(check->job()); !name.empty()) {
    const spec::Feature* feature = Referred(name, path + ".action_feature", check);
    if (feature != nullptr) CheckInput(*feature, path + ".action_feature", check);
  }
}

// A feature of the tower: rows of the sample's own, and nothing among the model's dense inputs.
void CheckPositionFeature(const std::string& name, const std::string& field, Checker* check) {
  const spec::Feature* feature = Referred(name, field, check);
  if (feature == nullptr) return;
  const std::string what = "feature \"" + name + "\" ";
  check->Expect(feature->source() == spec::ROW, field,
                what + "has source " + spec::FeatureSource_Name(feature->source()),
                "name features of source ROW");
  check->Expect(feature->has_table(), field, what + "has no table", "give it one");
  check->Expect(feature->slot_input_size() == 0, field,
                what + "has slot_input, which the model reads",
                "leave slot_input to the features of the model");
}

void CheckPosition(const spec::PositionTower& tower, Checker* check) {
  const spec::Job& job = check->job();
  const std::string path = "model.position";
  if (tower.column().empty()) {
    check->Missing(path + ".column", "name the INT column of data.events that holds places");
  } else {
    const spec::Column* column = check->FindColumn(DataRole::kEvents, tower.column());
    check->Expect(column != nullptr && column->type() == spec::INT, path + ".column",
                  "\"" + tower.column() + "\" is not an INT column of data.events",
                  "declare it there with type: INT");
  }
  check->Expect(job.task_size() < 2, path,
                "a position tower is of one task, the job names " + std::to_string(job.task_size()),
                "remove it, or all tasks but one");
  for (int i = 0; i < tower.with_size(); ++i) {
    CheckPositionFeature(tower.with(i), At(path + ".with", i), check);
  }
  check->ExpectRange(tower.places(), 1, 65535, path + ".places");
  check->ExpectRange(tower.width(), 1, 65536, path + ".width");
  check->ExpectProbability(tower.missing_rate(), path + ".missing_rate");
}

}  // namespace

void ExpectUserItemTime(const std::string& field, const std::string& why, Checker* check) {
  const spec::Data& data = check->job().data();
  check->Expect(data.has_user_column() && data.has_item_column() && data.has_time_column(), field,
                why + ", and the data does not say whose, of what and when they are",
                "set data.user_column, data.item_column and data.time_column");
}

void CheckPointwiseModel(Checker* check) {
  const spec::Model& model = check->job().model();
  const std::vector<const spec::Feature*> used = CheckInputs(check);
  if (model.has_deepfm()) CheckDeepFm(model.deepfm(), used, check);
  if (model.has_din() || model.has_bst() || model.has_bst_din() || model.has_sfpnet() ||
      model.has_nam()) {
    CheckPairs(check);
  }
  if (model.has_position()) CheckPosition(model.position(), check);
  if (model.has_position() || !SequencePairs(check->job()).empty()) CheckRoles(check);
  check->Expect(
      !TellsScenarios(check->job()) || check->job().data().has_scenario(), "data.scenario",
      "a " + ModelName(check->job()) + " model tells scenarios apart, and the data has none",
      "set data.scenario { column: ... value: ... }, with every value of the column");
}

}  // namespace emporium::validate
