// The keys of a micro-batch, divided among the shards that own them, and the frames that carry them
// and their rows: the worker's half of proto/frame.h.
//
// A KeySplit is immutable and refers to the TableKeys that it was made of, which must outlive it;
// the functions are pure. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proto/frame.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "runtime/route.h"
#include "runtime/transport.h"
#include "worker/batch_source.h"

namespace emporium::worker {

class KeySplit {
 public:
  KeySplit() = default;
  KeySplit(const runtime::Route& route, std::vector<const TableKeys*> tables);

  size_t shards() const { return shards_; }
  size_t tables() const { return tables_.size(); }
  const TableKeys& table(size_t i) const { return *tables_[i].keys; }
  size_t rows_of(size_t i) const { return tables_[i].keys->keys.size(); }
  // How many keys of table i the shard owns.
  size_t count(size_t i, size_t shard) const;
  // Whether the keys of table i lie in the order of shards: then those of a shard are one block
  // from `first` on, and `rows` is not there.
  bool in_order(size_t i) const { return tables_[i].rows.empty(); }
  size_t first(size_t i, size_t shard) const { return tables_[i].begin[shard]; }
  // Positions in table(i).keys, ascending.
  std::span<const uint32_t> rows(size_t i, size_t shard) const;

 private:
  struct Table {
    const TableKeys* keys = nullptr;
    std::vector<uint32_t> rows;   // by shard, one after another; empty when they are in order
    std::vector<uint32_t> begin;  // [shards + 1]: of a shard's keys in `rows`, or in order
  };
  size_t shards_ = 0;
  std::vector<Table> tables_;
};

// Floats of a row of every table, by TableId: embedding tables, then dense groups.
std::vector<uint32_t> TableDims(const spec::Job& job);

Bytes EncodePull(const FrameHeader& header, const KeySplit& split, size_t shard);

// Where the rows of one table go.
struct RowTarget {
  std::span<float> values;      // [rows, dim]
  std::span<float> popularity;  // [rows], or empty when it was not asked for
  double* total = nullptr;      // of popularity; may be null
  uint32_t dim = 0;
  std::span<float> slots = {};  // [rows, slots], or empty when they were not asked for
  std::span<double> slot_totals = {};
};
// Puts the answers of all shards (by shard) where they belong. Internal when an answer does not fit
// its request.
Status DecodePull(const KeySplit& split, std::span<const runtime::Message> replies,
                  std::span<const RowTarget> targets);

// Where the gradients of one table come from.
struct GradientSource {
  std::span<const float> values;  // [rows, dim]
  uint32_t dim = 0;
  // The table keeps popularity: it is in every shard's frame, also without keys, because its total
  // is. Keys without counts were seen 0 times.
  bool counted = false;
  // Counters among the table's slots: likewise, because they have totals.
  uint32_t counters = 0;
};
// What travels of keys: the keys, or their hash, which is enough for a shard that has answered the
// pull of the same keys.
enum class KeyForm : uint8_t { kKeys, kHash };
// Gradients are multiplied by `scale`.
Bytes EncodePush(const FrameHeader& header, const KeySplit& split, size_t shard,
                 std::span<const GradientSource> gradients, float scale, KeyForm form);

// Values of rows that may not exist yet.
Bytes EncodeAssign(const FrameHeader& header, const KeySplit& split, size_t shard,
                   std::span<const GradientSource> sources);

}  // namespace emporium::worker
