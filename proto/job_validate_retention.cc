// ValidateJob: what a table keeps of its keys, and how long.
#include <algorithm>
#include <charconv>
#include <limits>

#include "proto/job_validate.h"
#include "proto/limits.h"
#include "proto/model_options.h"

namespace emporium::validate {
namespace {

constexpr double kHuge = std::numeric_limits<float>::max();

void CheckPopularity(const spec::Popularity& popularity, const std::string& path, Checker* check) {
  check->ExpectRange(popularity.half_life_steps(), 0, kHuge, path + ".half_life_steps");
  check->ExpectRange(popularity.half_life_days(), 0, kHuge, path + ".half_life_days");
  check->ExpectRange(popularity.bytes(), 1, 4, path + ".bytes");
  check->Expect(popularity.half_life_steps() == 0 || popularity.half_life_days() == 0,
                path + ".half_life_days", "half_life_steps is given too",
                "a count fades by steps or by event time: remove one");
  check->Expect(popularity.half_life_days() == 0 || check->job().data().has_time_column(),
                path + ".half_life_days", "the events have no time",
                "set data.time_column, or give half_life_steps");
}

void CheckAdmission(const spec::Table& table, const std::string& path, Checker* check) {
  if (!table.admission().has_sightings()) {
    check->Missing(path + ".sightings", "give a number of sightings, 2 to 255");
  } else {
    check->ExpectRange(table.admission().sightings(), 2, limits::kMaxAdmissionSightings,
                       path + ".sightings");
  }
  check->ExpectRange(table.admission().sketch_mib(), 1, limits::kMaxSketchMib,
                     path + ".sketch_mib");
  check->Expect(table.has_popularity(), path, "needs popularity, whose sightings it counts",
                "set popularity {} for the table");
}

void CheckExpiry(const spec::Table& table, const std::string& path, Checker* check) {
  const spec::Expiry& expiry = table.expiry();
  if (expiry.every_steps() == 0) {
    check->Missing(path + ".every_steps", "say after how many steps rows are looked at");
  }
  check->ExpectRange(expiry.popularity_below(), 0, kHuge, path + ".popularity_below");
  check->Expect(expiry.untouched_steps() > 0 || expiry.popularity_below() > 0 || expiry.rows() > 0,
                path, "says when rows go, but not which",
                "give untouched_steps, popularity_below or rows");
  check->Expect(table.has_popularity() || (!(expiry.popularity_below() > 0) && expiry.rows() == 0),
                path, "popularity_below and rows need popularity",
                "set popularity {} for the table");
  const uint32_t partitions = check->job().cluster().partitions();
  check->Expect(expiry.rows() == 0 || expiry.rows() >= partitions, path + ".rows",
                std::to_string(expiry.rows()) + " are fewer than the " +
                    std::to_string(partitions) + " partitions that share them",
                "give more rows, or fewer cluster.partitions");
}

bool IsInteger(const std::string& text) {
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [parsed, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && parsed == end;
}

void CheckWhen(const spec::Slot::When& when, const std::string& path, Checker* check) {
  const spec::Column* column = check->FindColumn(DataRole::kEvents, when.column());
  const bool kinds =
      column != nullptr && (column->type() == spec::STRING || column->type() == spec::INT);
  check->Expect(kinds && when.column() != check->job().data().time_column(), path + ".column",
                "\"" + when.column() + "\" is no STRING or INT column of data.events",
                "name the one that says of which kind an event is");
  if (when.value_size() == 0) check->Missing(path + ".value", "say which events feed the slot");
  std::vector<std::string> taken;
  for (int i = 0; i < when.value_size(); ++i) {
    const std::string& value = when.value(i);
    check->Expect(!kinds || column->type() == spec::STRING || IsInteger(value),
                  At(path + ".value", i), "\"" + value + "\" is no number, but the column is INT",
                  "give an integer");
    check->Expect(std::find(taken.begin(), taken.end(), value) == taken.end(),
                  At(path + ".value", i), "\"" + value + "\" is given twice", "remove one");
    taken.push_back(value);
  }
}

bool IsTime(const spec::Slot& slot, const Checker& check) {
  return !slot.column().empty() && slot.column() == check.job().data().time_column();
}

// What the model observes of the keys of its first pair.
void CheckFedByModel(const spec::Table& table, const spec::Slot& slot, const std::string& path,
                     Checker* check) {
  const std::string field = path + ".fed_by_model";
  check->Expect(slot.update() == spec::Slot::LOG_EMA, field, "the model feeds logs of means",
                "use update: LOG_EMA");
  check->Expect(slot.column().empty() && !slot.has_when(), field,
                "no event feeds what the model feeds", "remove column and when");
  const FedSlots fed = FedSlotsOf(check->job());
  const auto names = [&slot](const std::vector<std::string>& listed) {
    return std::find(listed.begin(), listed.end(), slot.name()) != listed.end();
  };
  check->Expect(table.name() == fed.table && (names(fed.target) || names(fed.event)), field,
                "the model does not name the slot, so nothing feeds it",
                "name it in target_slot or event_slot of a nam model with this table");
}

void CheckSlotColumn(const spec::Slot& slot, const std::string& path, Checker* check) {
  if (slot.column().empty()) {
    check->Expect(slot.update() == spec::Slot::ADD, path + ".column", "is missing",
                  "name the column whose values it takes; only ADD counts events");
    return;
  }
  const spec::Column* column = check->FindColumn(DataRole::kEvents, slot.column());
  const bool number =
      column != nullptr && (column->type() == spec::INT || column->type() == spec::FLOAT);
  check->Expect(number, path + ".column",
                "\"" + slot.column() + "\" is no INT or FLOAT column of data.events", "name one");
  const bool keeps_one = slot.update() == spec::Slot::MIN || slot.update() == spec::Slot::MAX ||
                         slot.update() == spec::Slot::SET;
  check->Expect(!IsTime(slot, *check) || keeps_one, path + ".update",
                "times are not added up and have no mean", "use MIN, MAX or SET");
  check->Expect(!IsTime(slot, *check) || slot.initial() == 0, path + ".initial",
                "before the first event there is no time", "remove it");
}

void CheckFading(const spec::Table& table, const spec::Slot& slot, const std::string& path,
                 Checker* check) {
  const spec::Popularity& popularity = table.popularity();
  const bool steps = slot.half_life_steps() != 0;
  const bool days = slot.half_life_days() != 0;
  const std::string of_own = path + (days ? ".half_life_days" : ".half_life_steps");
  check->ExpectRange(slot.half_life_steps(), 0, kHuge, path + ".half_life_steps");
  check->ExpectRange(slot.half_life_days(), 0, kHuge, path + ".half_life_days");
  if (!slot.fades() && !steps && !days) return;
  check->Expect(slot.update() == spec::Slot::ADD, slot.fades() ? path + ".fades" : of_own,
                "only what is added up fades", "remove it, or use update: ADD");
  check->Expect(
      !slot.fades() || popularity.half_life_steps() > 0 || popularity.half_life_days() > 0,
      path + ".fades", "the table's popularity has no half life",
      "give popularity { half_life_steps or half_life_days }");
  check->Expect(slot.fades() + steps + days == 1, of_own, "the slot has more than one half life",
                "give one of fades and the two half lives");
  check->Expect(slot.initial() == 0, path + ".initial", "what fades starts from 0", "remove it");
  if (!steps && !days) return;
  check->Expect(table.has_popularity(), of_own, "needs popularity, whose clock it shares",
                "set popularity {} for the table");
  check->Expect(!days || check->job().data().has_time_column(), of_own, "the events have no time",
                "set data.time_column, or give half_life_steps");
  bool mixed = steps ? popularity.half_life_days() > 0 : popularity.half_life_steps() > 0;
  for (const spec::Slot& other : table.slot()) {
    mixed = mixed || (steps ? other.half_life_days() > 0 : other.half_life_steps() > 0);
  }
  check->Expect(!mixed, of_own, "other counts of the table fade by another clock",
                "give all half lives of a table in steps, or all in days");
}

void CheckSlot(const spec::Table& table, const spec::Slot& slot, const std::string& path,
               Checker* check) {
  if (slot.fed_by_model()) {
    CheckFedByModel(table, slot, path, check);
  } else {
    CheckSlotColumn(slot, path, check);
  }
  if (slot.has_when()) CheckWhen(slot.when(), path + ".when", check);
  CheckFading(table, slot, path, check);
  check->ExpectProbability(slot.least_rho(), path + ".least_rho");
  check->ExpectRange(slot.initial(), -kHuge, kHuge, path + ".initial");
}

void CheckSlots(const spec::Table& table, const std::string& path, Checker* check) {
  std::vector<std::string> taken;
  for (int i = 0; i < table.slot_size(); ++i) {
    const std::string of_slot = At(path + ".slot", i);
    CheckName(table.slot(i).name(), of_slot, &taken, check);
    CheckSlot(table, table.slot(i), of_slot, check);
  }
  check->Expect(static_cast<uint32_t>(table.slot_size()) <= limits::kMaxSlots, path + ".slot",
                std::to_string(table.slot_size()) + " slots are too many",
                "at most " + std::to_string(limits::kMaxSlots) + " are possible");
  check->Expect(table.slot_size() == 0 || !IsRetrieval(check->job()), path + ".slot",
                "slots are fed by the samples of pointwise models, and a " +
                    ModelName(check->job()) + " model has none",
                "remove them");
}

void CheckSlotInput(const spec::Feature& feature, const spec::SlotInput& input,
                    const std::string& path, Checker* check) {
  const spec::Table* table = check->FindTable(feature.table());
  std::vector<std::string> names;
  const spec::Slot* slot = nullptr;
  for (int s = 0; table != nullptr && s < table->slot_size(); ++s) {
    names.push_back(table->slot(s).name());
    if (table->slot(s).name() == input.slot()) slot = &table->slot(s);
  }
  check->Expect(slot != nullptr, path + ".slot",
                "the feature's table has no slot \"" + input.slot() + "\"",
                Checker::Suggest(input.slot(), names, "declare it in the table"));
  if (slot == nullptr) return;
  const bool frequency =
      input.as() == spec::SlotInput::IIF || input.as() == spec::SlotInput::POPULARITY;
  check->Expect(!frequency || slot->update() == spec::Slot::ADD, path + ".as",
                "only counters, whose update is ADD, have a total", "use VALUE");
  check->Expect(
      (input.as() == spec::SlotInput::AGE) == IsTime(*slot, *check), path + ".as",
      IsTime(*slot, *check) ? "a time enters as its age" : "the slot holds no time",
      IsTime(*slot, *check) ? "use AGE" : "use another form, or a slot of the time column");
  check->Expect(!input.log1p() || input.as() == spec::SlotInput::VALUE, path + ".log1p",
                "is for the value itself", "remove it");
}

}  // namespace

void CheckSlotInputs(const spec::Feature& feature, const spec::Column& column,
                     const std::string& path, Checker* check) {
  const spec::Job& job = check->job();
  const bool pointwise = !ModelName(job).empty() && !IsRetrieval(job);
  const bool of_rows = pointwise && feature.source() == spec::ROW;
  const bool sighted = pointwise && feature.source() != spec::HISTORY;
  for (int i = 0; i < feature.slot_input_size(); ++i) {
    CheckSlotInput(feature, feature.slot_input(i), At(path + ".slot_input", i), check);
  }
  check->Expect(feature.slot_input_size() == 0 || (of_rows && column.type() != spec::TEXT),
                path + ".slot_input",
                "is for ROW features of one key of a model that scores samples", "remove it");
  check->Expect(feature.sighting() || sighted, path + ".sighting",
                "is for ROW and ITEM features of a model that scores samples", "remove it");
}

void CheckRetention(const spec::Table& table, const std::string& path, Checker* check) {
  if (table.has_popularity()) CheckPopularity(table.popularity(), path + ".popularity", check);
  if (table.has_admission()) CheckAdmission(table, path + ".admission", check);
  if (table.has_expiry()) CheckExpiry(table, path + ".expiry", check);
  CheckSlots(table, path, check);
}

}  // namespace emporium::validate
