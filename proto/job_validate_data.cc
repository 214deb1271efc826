// ValidateJob: data and features. Contract in proto/job_file.h.
#include <algorithm>
#include <limits>

#include "proto/job_validate.h"
#include "proto/limits.h"
#include "proto/model_options.h"

namespace emporium::validate {
namespace {

constexpr double kHuge = std::numeric_limits<float>::max();
constexpr uint32_t kMaxListLength = 65536;

std::vector<std::string> ColumnNames(const spec::TextSource& source) {
  std::vector<std::string> names;
  for (const spec::Column& column : source.column()) {
    names.push_back(column.name());
  }
  return names;
}

void CheckSource(const spec::TextSource& source, const std::string& path, Checker* check) {
  if (source.file_size() == 0) {
    check->Missing(path + ".file", "name the files, for example file: \"events.csv\"");
  }
  if (source.format() == spec::PARQUET) {
    check->NotSupported(path + ".format", "PARQUET", "CSV or TSV");
  }
  if (source.column_size() == 0) {
    check->Missing(path + ".column", "declare the columns that are read");
  }
  std::vector<std::string> seen;
  for (int i = 0; i < source.column_size(); ++i) {
    const std::string& name = source.column(i).name();
    const std::string field = At(path + ".column", i) + ".name";
    if (name.empty()) {
      check->Missing(field, "give the column's name in the header line");
    } else if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
      check->Add(field, "\"" + name + "\" is declared twice", "declare each column once");
    }
    seen.push_back(name);
  }
}

// A column of `data` with a meaning: must be declared, and of one of `types`.
void CheckRole(DataRole role, const std::string& name, const std::string& field,
               const std::vector<spec::ColumnType>& types, Checker* check) {
  if (name.empty()) {
    return;
  }
  const bool events = role == DataRole::kEvents;
  const std::string source = events ? "data.events" : "data.items";
  const spec::Column* column = check->FindColumn(role, name);
  if (column == nullptr) {
    const spec::Data& data = check->job().data();
    check->Add("data." + field, "\"" + name + "\" is not a column of " + source,
               Checker::Suggest(name, ColumnNames(events ? data.events() : data.items()),
                                "declare it in " + source));
    return;
  }
  if (std::find(types.begin(), types.end(), column->type()) != types.end()) {
    return;
  }
  std::string allowed;
  for (const spec::ColumnType type : types) {
    allowed += (allowed.empty() ? "" : " or ") + spec::ColumnType_Name(type);
  }
  check->Add("data." + field,
             "\"" + name + "\" is a " + spec::ColumnType_Name(column->type()) + " column",
             "declare it with type " + allowed);
}

void CheckSplit(Checker* check) {
  const spec::Data& data = check->job().data();
  const spec::Split& split = data.split();
  switch (split.kind_case()) {
    case spec::Split::kLeaveOneOut:
      if (!data.has_user_column() || !data.has_time_column()) {
        check->Add("data.split.leave_one_out", "needs to know a user's last event",
                   "set data.user_column and data.time_column");
      }
      return;
    case spec::Split::kLastDays:
      check->Expect(split.last_days().test_days() > 0 && split.last_days().test_days() < kHuge,
                    "data.split.last_days.test_days", "is not a number of days above 0",
                    "give the days that are held out, or use train_only {}");
      check->ExpectRange(split.last_days().validation_days(), 0, kHuge,
                         "data.split.last_days.validation_days");
      if (!data.has_time_column()) {
        check->Add("data.split.last_days", "needs the time of events", "set data.time_column");
      }
      return;
    case spec::Split::kFiles:
      if (split.files().test_file_size() == 0 && split.files().validation_file_size() == 0) {
        check->Add("data.split.files", "names no file", "set test_file, or use train_only {}");
      }
      return;
    case spec::Split::kTrainOnly:
      return;
    case spec::Split::KIND_NOT_SET:
      if (data.has_split()) {
        check->Missing("data.split",
                       "name one: leave_one_out {}, last_days {}, files {} or train_only {}");
      }
      return;
  }
}

void CheckScenario(Checker* check) {
  if (!check->job().data().has_scenario()) return;
  const spec::Scenario& scenario = check->job().data().scenario();
  const std::string path = "data.scenario";
  if (scenario.column().empty()) {
    check->Missing(path + ".column", "name the column of data.events that tells scenarios apart");
  }
  CheckRole(DataRole::kEvents, scenario.column(), "scenario.column", {spec::STRING, spec::INT},
            check);
  if (scenario.value_size() == 0) {
    check->Missing(path + ".value", "list every value of the column");
  }
  check->Expect(static_cast<uint32_t>(scenario.value_size()) <= limits::kMaxScenarios,
                path + ".value", std::to_string(scenario.value_size()) + " values are too many",
                "at most " + std::to_string(limits::kMaxScenarios) + " are possible");
  const spec::Column* column = check->FindColumn(DataRole::kEvents, scenario.column());
  for (int i = 0; i < scenario.value_size(); ++i) {
    const std::string& value = scenario.value(i);
    const auto before = scenario.value().begin() + i;
    check->Expect(std::find(scenario.value().begin(), before, value) == before,
                  At(path + ".value", i), "\"" + value + "\" is listed twice", "list it once");
    int64_t number = 0;
    check->Expect(
        column == nullptr || column->type() != spec::INT || ParseWhole(value, &number),
        At(path + ".value", i),
        "\"" + value + "\" is no whole number, and \"" + scenario.column() + "\" is an INT column",
        "write it as 7 or -7, or declare the column as STRING");
  }
}

void CheckHistory(Checker* check) {
  const spec::Data& data = check->job().data();
  if (!data.has_history()) {
    return;
  }
  const spec::History& history = data.history();
  const std::string path = "data.history";
  check->ExpectRange(history.max_length(), 1, limits::kMaxHistoryLength, path + ".max_length");
  check->Expect(history.min_length() <= history.max_length(), path + ".min_length",
                "is above max_length: no sample would be left", "give at most max_length");
  check->ExpectRange(history.lag_seconds(), 0, kHuge, path + ".lag_seconds");
  check->ExpectRange(history.random_lag_days(), 0, kHuge, path + ".random_lag_days");
  check->ExpectRange(history.warm_up_days(), 0, kHuge, path + ".warm_up_days");
  if (!data.has_user_column() || !data.has_time_column()) {
    check->Add(path, "needs to know whose past it is, and when",
               "set data.user_column and data.time_column");
  }
}

void CheckFeatureTable(const spec::Feature& feature, const spec::Column& column,
                       const std::string& path, Checker* check) {
  if (column.type() == spec::FLOAT) {
    check->Expect(!feature.has_table(), path + ".table",
                  "a FLOAT column is a dense input and has no rows", "remove the table");
    if (feature.source() != spec::ROW) {
      check->NotSupported(path + ".source",
                          "a dense input of source " + spec::FeatureSource_Name(feature.source()),
                          "source ROW");
    }
    return;
  }
  if (!feature.has_table()) {
    check->Missing(path + ".table", "name the table that its keys are looked up in");
  } else if (check->FindTable(feature.table()) == nullptr) {
    std::vector<std::string> names;
    for (const spec::Table& table : check->job().table()) {
      names.push_back(table.name());
    }
    check->Add(path + ".table", "there is no table \"" + feature.table() + "\"",
               Checker::Suggest(feature.table(), names, "declare the table"));
  }
  check->Expect(feature.hashing() != spec::IDENTITY || column.type() == spec::INT,
                path + ".hashing", "IDENTITY needs whole numbers", "use HASH, or an INT column");
}

void CheckFeature(const spec::Feature& feature, const std::string& path, Checker* check) {
  const spec::Data& data = check->job().data();
  check->ExpectRange(feature.max_length(), 1, kMaxListLength, path + ".max_length");
  if (feature.source() == spec::HISTORY && !data.has_history()) {
    check->Add(path + ".source", "the data has no history", "set data.history {}");
  }
  if (feature.source() == spec::ITEM && !data.has_items()) {
    check->Add(path + ".source", "there is no file of items", "set data.items, or use source ROW");
    return;
  }
  if (feature.column().empty()) {
    check->Missing(path + ".column", "name the column that it reads");
    return;
  }
  const spec::Column* column = check->ColumnOf(feature);
  if (column == nullptr) {
    const bool item = feature.source() == spec::ITEM;
    const std::string source = item ? "data.items" : "data.events";
    check->Add(path + ".column", "\"" + feature.column() + "\" is not a column of " + source,
               Checker::Suggest(feature.column(), ColumnNames(item ? data.items() : data.events()),
                                "declare it in " + source));
    return;
  }
  CheckFeatureTable(feature, *column, path, check);
  CheckSlotInputs(feature, *column, path, check);
}

}  // namespace

void CheckData(Checker* check) {
  const spec::Job& job = check->job();
  const spec::Data& data = job.data();
  if (!job.has_data()) {
    check->Missing("data", "say where the samples come from: data { events { ... } }");
    return;
  }
  if (data.has_events()) {
    CheckSource(data.events(), "data.events", check);
  } else {
    check->Missing("data.events", "name the files of events");
  }
  CheckRole(DataRole::kEvents, data.user_column(), "user_column", {spec::STRING, spec::INT}, check);
  CheckRole(DataRole::kEvents, data.item_column(), "item_column", {spec::STRING, spec::INT}, check);
  CheckRole(DataRole::kEvents, data.time_column(), "time_column", {spec::INT, spec::FLOAT}, check);
  CheckRole(DataRole::kEvents, data.group_column(), "group_column", {spec::STRING, spec::INT},
            check);
  CheckRole(DataRole::kEvents, data.label_column(), "label_column", {spec::INT, spec::FLOAT},
            check);
  if (data.has_items()) {
    CheckSource(data.items(), "data.items", check);
    if (!data.has_items_key_column()) {
      check->Missing("data.items_key_column", "name the column of data.items with the item's id");
    }
    CheckRole(DataRole::kItems, data.items_key_column(), "items_key_column",
              {spec::STRING, spec::INT}, check);
    CheckRole(DataRole::kItems, data.items_title_column(), "items_title_column",
              {spec::STRING, spec::TEXT}, check);
  } else if (data.has_items_key_column() || data.has_items_title_column()) {
    check->Add("data", "items_key_column and items_title_column need data.items",
               "set data.items { ... }, or remove them");
  }
  CheckSplit(check);
  CheckHistory(check);
  CheckScenario(check);
  check->ExpectRange(data.max_bad_fraction(), 0, 1, "data.max_bad_fraction");
}

void CheckFeatures(Checker* check) {
  const spec::Job& job = check->job();
  check->Expect(static_cast<uint32_t>(job.feature_size()) <= limits::kMaxFeatures, "feature",
                std::to_string(job.feature_size()) + " features are too many",
                "at most " + std::to_string(limits::kMaxFeatures) + " are possible");
  std::vector<std::string> taken;
  for (int i = 0; i < job.feature_size(); ++i) {
    CheckName(job.feature(i).name(), At("feature", i), &taken, check);
    CheckFeature(job.feature(i), At("feature", i), check);
  }
}

}  // namespace emporium::validate
