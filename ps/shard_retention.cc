// What a shard says and does about its memory: counters, totals, the budget, the rows that expire.
#include <algorithm>
#include <string>

#include "proto/check.h"
#include "ps/shard.h"

namespace emporium::ps {

ShardCounters Shard::counters() const {
  ShardCounters counters = counters_;
  counters.staged_bytes = barrier_.staged_bytes();
  counters.parked_pulls = parked_.size();
  return counters;
}

uint64_t Shard::memory_bytes() const {
  uint64_t bytes = barrier_.staged_bytes() + parked_bytes_;
  for (const std::unique_ptr<Table>& table : tables_) bytes += table->bytes();
  return bytes;
}

Status Shard::CheckMemory(const StagedPush& push) const {
  if (config_.memory_bytes == 0) return Status::Ok();
  uint64_t wanted = memory_bytes() + push.bytes.bytes().size();
  for (size_t t = 0; t < tables_.size(); ++t) {
    wanted += step_rows_[t].awaited() * uint64_t{tables_[t]->bytes_of_row()};
  }
  // Most keys have their row; they are looked up only when that matters.
  const auto new_rows = [&](bool look) {
    uint64_t bytes = 0;
    std::vector<Slot> found;
    for (const SectionView& section : push.frame.sections()) {
      const Table& table = *tables_[section.table.value()];
      uint64_t rows = section.rows;
      if (look) {
        std::span<const uint64_t> keys = section.keys;
        if (section.known_keys) keys = push.pull->Find(section.table)->keys;
        found.resize(keys.size());
        table.Find(keys, found);
        rows = static_cast<uint64_t>(std::count(found.begin(), found.end(), kNoSlot));
      }
      bytes += rows * table.bytes_of_row();
    }
    return bytes;
  };
  if (wanted + new_rows(false) <= config_.memory_bytes) return Status::Ok();
  const uint64_t more = new_rows(true);
  if (more == 0 || wanted + more <= config_.memory_bytes) return Status::Ok();
  std::string tables;
  for (const std::unique_ptr<Table>& table : tables_) {
    if (table->rows() == 0) continue;
    tables += (tables.empty() ? "" : ", ") + table->settings().name + " " +
              std::to_string(table->rows()) + " rows in " + std::to_string(table->bytes() >> 20) +
              " MiB";
  }
  return ResourceExhausted(
      "shard " + std::to_string(config_.id.value()) + " has used up its " +
      std::to_string(config_.memory_bytes >> 20) + " MiB (cluster.memory_per_shard_mib) and step " +
      std::to_string(push.frame.header().step.value()) + " brings new keys; it holds " + tables +
      ". Raise the budget, use more shards, or give the largest table an expiry or an admission");
}

void Shard::ApplyTotals(size_t table) {
  if (!config_.tables[table].popularity && tables_[table]->counters().empty()) return;
  Table::Totals& added = added_totals_[table];
  previous_totals_[table] = tables_[table]->totals(position_.global_step);
  tables_[table]->AddToTotals(added, position_.global_step + 1);
  added.popularity = 0;
  std::fill(added.slots.begin(), added.slots.end(), 0);
}

void Shard::ExpireOnce() {
  if (position_.version == Step(0) || expired_ == position_.version) return;
  expired_ = position_.version;
  bool due = false;
  for (size_t t = 0; t < tables_.size(); ++t) {
    const uint64_t every = config_.tables[t].expiry.every_steps;
    if (every == 0 || position_.version.value() % every != 0) continue;
    EMPORIUM_CHECK(step_rows_[t].rows() == 0, "nothing has been added to the step yet");
    retention_[t].rows_expired += tables_[t]->Expire(position_.global_step);
    due = true;
  }
  if (due) ForgetSlots();
}

void Shard::ForgetSlots() {
  for (StepRows& rows : step_rows_) {
    EMPORIUM_CHECK(rows.rows() == 0, "slots are needed while a step is being added up");
    rows.Clear();
  }
  memory_.Forget();
  previous_known_ = false;
}

}  // namespace emporium::ps
