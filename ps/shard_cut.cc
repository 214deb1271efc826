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
  cut_table_ = 0;
  last_cut_ = number;
  return cut;
}

bool Shard::NextPiece(size_t bytes, CutPiece* piece) {
  while (cut_table_.has_value()) {
    if (*cut_table_ == tables_.size()) {
      cut_table_.reset();
    } else if (tables_[*cut_table_]->NextPiece(bytes, piece)) {
      return true;
    } else {
      tables_[*cut_table_]->EndCut();
      ++*cut_table_;
    }
  }
  return false;
}

void Shard::EndCut() {
  // Whoever has all pieces need not have asked for one more.
  CutPiece rest;
  if (!NextPiece(1, &rest)) return;
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
