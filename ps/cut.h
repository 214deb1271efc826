// A cut: what a checkpoint writes of a shard, as it was at one step, while the shard goes on. What
// is small (totals, sketches, which keys went) is copied when the cut is taken; rows are copied
// piece by piece afterwards, and a row that changes before its piece has come is copied aside
// first (ps/table_cut.cc). Who writes takes pieces from the shard's thread (ps/cut_feed.h) or from
// the shard itself.
//
// Pieces come table by table, partition by partition in ascending order; a partition has one piece
// at least. Values; belong to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "proto/bytes.h"
#include "proto/ids.h"
#include "ps/popularity_code.h"
#include "ps/row.h"
#include "ps/table.h"

namespace emporium::ps {

// Where a shard stands.
struct Position {
  std::optional<StageId> stage;  // nothing: no train stage has begun
  Step version;                  // updates applied in the stage
  uint32_t global_step = 0;      // updates applied in all stages
  friend bool operator==(const Position&, const Position&) = default;
};

// A table of the cut.
struct CutTable {
  TableId id;
  std::string name;
  RowLayout layout;
  Table::Total total;
  uint64_t rows = 0;  // that the pieces will bring
  // Admission: sketches of the partitions, one after another, and what they hold.
  uint32_t sketch_width = 0;  // 0: none
  std::vector<uint8_t> sketch;
  std::vector<uint32_t> sketch_held;
  std::span<const uint8_t> sketch_of(size_t partition) const {
    const size_t cells = size_t{kSketchRows} * sketch_width;
    return std::span(sketch).subspan(partition * cells, cells);
  }
  // Of a cut of changes: keys whose rows went since the cut before, by partition and key. Some may
  // have got a new row, which is among the changed ones then.
  std::vector<uint64_t> gone;
  std::vector<uint64_t> gone_offset;  // [partitions + 1]
};

struct Cut {
  uint64_t number = 0;  // of the checkpoint
  uint64_t parent = 0;  // the checkpoint whose changes these are; 0: these are all rows
  ShardId shard;
  uint32_t partitions = 0;             // of the key space
  std::vector<PartitionId> partition;  // the shard's, ascending
  Position position;                   // at a stage
  std::vector<CutTable> tables;
};

// A row of a piece: key u64 | weights | tail, as they lie (ps/row.h).
size_t RecordBytes(const RowShape& shape);
void WriteRecord(const RowShape& shape, uint64_t key, const std::byte* weights,
                 const std::byte* tail, std::byte* to);

// Some rows of one partition of a table.
struct CutPiece {
  // Records.
  UnclearedVector<std::byte> rows;
  bool last = false;  // of its partition
};

// The next piece; nothing when there will be none any more before the cut is complete.
using CutSource = std::function<std::optional<CutPiece>()>;

// Makes views of rows as they lie.
class RowReader {
 public:
  explicit RowReader(const RowLayout& layout);
  const RowShape& shape() const { return shape_; }
  // Good until the next call.
  const RowView& Read(uint64_t key, const std::byte* weights, const std::byte* tail);
  // Of a record, without `weights`: who stores rows wants them as they lie.
  const RowView& ReadRaw(const std::byte* record);
  static uint64_t KeyOf(const std::byte* record);

 private:
  const RowShape shape_;
  const PopularityCode code_;
  void ReadTail(const std::byte* tail);

  std::vector<float> weights_;
  std::vector<float> state_;
  RowView view_;
};

}  // namespace emporium::ps
