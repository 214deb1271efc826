// The part of a job that tables are made of.
#include <xxhash.h>

#include "proto/check.h"
#include "proto/limits.h"
#include "ps/table.h"
#include "runtime/route.h"

namespace emporium::ps {
namespace {

// By name, not by position: adding a table to a job leaves the others' initial values alone. Pinned
// for ever, like the initial values themselves.
uint64_t TableSeed(uint64_t job_seed, const std::string& name) {
  return runtime::MixKey(job_seed) ^ XXH3_64bits(name.data(), name.size());
}

constexpr double kSecondsPerDay = 86400;

SlotRule RuleOf(const spec::Job& job, const spec::Table& table, const spec::Slot& slot) {
  const auto ticks = [](const auto& of) {
    return of.half_life_days() > 0 ? of.half_life_days() * kSecondsPerDay : of.half_life_steps();
  };
  SlotRule rule;
  rule.name = slot.name();
  rule.update = slot.update();
  rule.half_life = slot.fades() ? ticks(table.popularity()) : ticks(slot);
  rule.least_rho = slot.least_rho();
  rule.initial = slot.initial();
  rule.time = !slot.column().empty() && slot.column() == job.data().time_column();
  return rule;
}

TableSettings OfTable(const spec::Job& job, const spec::Table& table) {
  TableSettings settings;
  settings.name = table.name();
  settings.dim = table.dim();
  settings.element_type = table.element_type();
  settings.seed = TableSeed(job.seed(), table.name());
  settings.optimizer = table.optimizer();
  settings.initializer = table.initializer();
  settings.popularity = table.has_popularity();
  settings.half_life_steps = table.popularity().half_life_steps();
  settings.half_life_seconds = table.popularity().half_life_days() * kSecondsPerDay;
  settings.popularity_bytes = table.popularity().bytes();
  settings.admission_sightings = table.admission().sightings();
  settings.sketch_bytes = uint64_t{table.admission().sketch_mib()} << 20;
  settings.expiry = {.every_steps = table.expiry().every_steps(),
                     .untouched_steps = table.expiry().untouched_steps(),
                     .popularity_below = table.expiry().popularity_below(),
                     .rows = table.expiry().rows()};
  for (const spec::Slot& slot : table.slot()) {
    settings.slots.push_back(RuleOf(job, table, slot));
    if (slot.half_life_days() > 0) settings.slot_seconds = true;
  }
  return settings;
}

TableSettings OfGroup(const spec::Job& job, const spec::DenseGroup& group) {
  TableSettings settings;
  settings.name = group.name();
  settings.dim = group.chunk_floats();
  settings.seed = TableSeed(job.seed(), group.name());
  settings.optimizer = group.optimizer();
  settings.fixed_rate = group.statistics();
  settings.initializer.mutable_zeros();  // rows are assigned; what lies behind a tensor's end is 0
  return settings;
}

}  // namespace

std::vector<TableSettings> TablesOf(const spec::Job& job) {
  std::vector<TableSettings> tables;
  for (const spec::Table& table : job.table()) tables.push_back(OfTable(job, table));
  for (const spec::DenseGroup& group : job.dense()) tables.push_back(OfGroup(job, group));
  if (job.dense().empty()) {
    spec::DenseGroup group;
    group.set_name("dense");
    group.mutable_optimizer()->mutable_adamw();
    tables.push_back(OfGroup(job, group));
  }
  EMPORIUM_CHECK(tables.size() <= limits::kMaxTables, "a validated job keeps to the table limit");
  for (size_t i = 0; i < tables.size(); ++i) tables[i].id = TableId(static_cast<uint16_t>(i));
  return tables;
}

}  // namespace emporium::ps
