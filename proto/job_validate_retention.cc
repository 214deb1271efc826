// ValidateJob: what a table keeps of its keys, and how long.
#include <algorithm>
#include <limits>

#include "proto/job_validate.h"
#include "proto/limits.h"

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

void CheckSlot(const spec::Table& table, const spec::Slot& slot, const std::string& path,
               Checker* check) {
  const spec::Job& job = check->job();
  if (slot.column().empty()) {
    check->Expect(slot.update() == spec::Slot::ADD, path + ".column", "is missing",
                  "name the column whose values it takes; only ADD counts occurrences");
  } else {
    const spec::Column* column = check->FindColumn(DataRole::kEvents, slot.column());
    const bool number =
        column != nullptr && (column->type() == spec::INT || column->type() == spec::FLOAT);
    check->Expect(number && slot.column() != job.data().time_column(), path + ".column",
                  "\"" + slot.column() + "\" is no INT or FLOAT column of data.events",
                  "name one, not the time column");
  }
  check->Expect(!slot.fades() || slot.update() == spec::Slot::ADD, path + ".fades",
                "only what is added up fades", "remove it, or use update: ADD");
  const spec::Popularity& popularity = table.popularity();
  check->Expect(
      !slot.fades() || popularity.half_life_steps() > 0 || popularity.half_life_days() > 0,
      path + ".fades", "the table's popularity has no half life",
      "give popularity { half_life_steps or half_life_days }");
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
  check->Expect(table.slot_size() == 0 || !check->job().model().has_two_tower(), path + ".slot",
                "slots are fed by the samples of pointwise models, and a two-tower has none",
                "remove them");
}

}  // namespace

void CheckSlotInputs(const spec::Feature& feature, const spec::Column& column,
                     const std::string& path, Checker* check) {
  for (int i = 0; i < feature.slot_input_size(); ++i) {
    const std::string of_input = At(path + ".slot_input", i) + ".slot";
    const std::string& name = feature.slot_input(i).slot();
    const spec::Table* table = check->FindTable(feature.table());
    std::vector<std::string> names;
    for (int s = 0; table != nullptr && s < table->slot_size(); ++s) {
      names.push_back(table->slot(s).name());
    }
    check->Expect(std::find(names.begin(), names.end(), name) != names.end(), of_input,
                  "the feature's table has no slot \"" + name + "\"",
                  Checker::Suggest(name, names, "declare it in the table"));
  }
  check->Expect(feature.slot_input_size() == 0 ||
                    (check->job().model().has_deepfm() && feature.source() == spec::ROW &&
                     column.type() != spec::TEXT),
                path + ".slot_input", "is for ROW features of one key of a DeepFM model",
                "remove it");
}

void CheckRetention(const spec::Table& table, const std::string& path, Checker* check) {
  if (table.has_popularity()) CheckPopularity(table.popularity(), path + ".popularity", check);
  if (table.has_admission()) CheckAdmission(table, path + ".admission", check);
  if (table.has_expiry()) CheckExpiry(table, path + ".expiry", check);
  CheckSlots(table, path, check);
}

}  // namespace emporium::validate
