// What a shard does for checkpoints while it goes on.
#include <algorithm>

#include "proto/check.h"
#include "proto/planted_bug.h"
#include "ps/shard.h"

namespace emporium::ps {

Cut Shard::BeginCut(uint64_t number, uint64_t parent) {
  EMPORIUM_CHECK(position_.stage.has_value() && barrier_.empty(),
                 "a checkpoint is taken between two steps of a stage");
  bool changes = parent != 0 && (parent == last_cut_ || Planted(PlantedBug::kChangesSinceAnyCut));
  for (const std::unique_ptr<Table>& table : tables_) changes = changes && table->KnowsChanges();
  Cut cut;
  cut.number = number;
  cut.parent = changes ? parent : 0;
  cut.shard = config_.id;
  cut.partitions = config_.partitions;
  cut.partition = config_.owned;
  std::sort(cut.partition.begin(), cut.partition.end());
  cut.position = position_;
  for (const std::unique_ptr<Table>& table : tables_) {
    cut.tables.push_back(table->BeginCut(cut.partition, changes));
  }
  for (StepRows& rows : step_rows_) rows.KeepKeys(true);
  cut_table_.reset();
  if (!tables_.empty()) cut_table_ = 0;
  last_cut_ = number;
  return cut;
}

bool Shard::NextPiece(size_t bytes, CutPiece* piece) {
  while (cut_table_.has_value()) {
    Table& table = *tables_[*cut_table_];
    const bool any = table.NextPiece(bytes, piece);
    if (!table.cutting() && ++*cut_table_ == tables_.size()) cut_table_.reset();
    if (any) return true;
  }
  return false;
}

void Shard::EndCut() {
  if (!cut_table_.has_value()) return;
  for (const std::unique_ptr<Table>& table : tables_) table->EndCut();
  cut_table_.reset();
  last_cut_ = 0;
}

uint64_t Shard::cut_bytes() const {
  uint64_t bytes = 0;
  for (const std::unique_ptr<Table>& table : tables_) bytes += table->cut_bytes();
  return bytes;
}

}  // namespace emporium::ps
