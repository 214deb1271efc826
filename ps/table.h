// One table of one shard: key -> row, for the partitions that the shard owns. Rows hold weights,
// optimizer state and what else the layout (ps/row.h) asks for; they lie in slabs, apart from the
// index that finds them and knows their keys.
//
// Belongs to the shard's thread; no locks. Invariants:
//  1. A key has one row or none; reading never makes a row.
//  2. What a key without a row is answered with, and what its row starts from, is
//     InitialValue(seed, table, key): never a matter of arrival order.
//  3. The state after a sequence of updates is a function of that sequence of (key, gradient sum,
//     count, step) alone: not of the order of keys within an update, nor of slots or growth.
//  4. A slot is valid until its key is erased or its partition compacted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proto/frame.h"
#include "proto/ids.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "ps/admission.h"
#include "ps/expiry.h"
#include "ps/page_ahead.h"
#include "ps/popularity_stats.h"
#include "ps/row.h"
#include "ps/row_slots.h"
#include "ps/slab.h"

namespace emporium::ps {

struct CutPiece;
struct CutTable;

// A row as checkpoint and tests see it.
struct RowView {
  uint64_t key = 0;
  std::span<const float> weights;
  std::span<const float> state;
  float popularity = 0;    // as of last_step
  uint32_t last_step = 0;  // global step (monotonic over the stages) of the last update
  uint32_t updates = 0;    // how many updates the row has had
  // The weights as they lie, in the table's element type: what a checkpoint stores. Empty: made
  // anew of `weights`; else `weights` may be empty where a row is restored.
  std::span<const std::byte> raw = {};
  // What ps/row_slots.h keeps, as it lies. Empty: as of a new row.
  std::span<const std::byte> extra = {};
};

// The settings of a table, as the shard has worked them out of the job: an embedding table or a
// dense group (whose rows are always assigned before they are updated).
struct TableSettings {
  TableId id;
  std::string name;
  uint32_t dim = 0;
  spec::ElementType element_type = spec::FP32;
  uint64_t seed = 0;  // of initial values: made of the job's seed and the name
  spec::Optimizer optimizer;
  bool fixed_rate = false;  // no schedule changes the optimizer's learning rate
  spec::Initializer initializer;
  bool popularity = false;
  uint32_t popularity_bytes = 4;  // of a row, where it is kept: 1 to 4
  double half_life_steps = 0;     // 0: no decay, unless ...
  double half_life_seconds = 0;   // ... counts fade by event time
  std::vector<SlotRule> slots;
  bool slot_seconds = false;         // half lives of slots are seconds of event time, else steps
  uint32_t admission_sightings = 0;  // 0: a key gets a row at once
  uint64_t sketch_bytes = 0;         // of admission, over all partitions
  ExpiryRules expiry;

  // Counts fade with ticks: steps, or seconds of event time.
  bool event_time() const { return half_life_seconds > 0 || slot_seconds; }
};

class Table {
 public:
  // The settings have been validated with the job; `partitions` is a power of two. `page_ahead`:
  // makes memory ready before growth needs it, outlives the table; null: the table does without.
  Table(const TableSettings& settings, uint32_t partitions, const std::vector<PartitionId>& owned,
        PageAhead* page_ahead = nullptr);
  ~Table();
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  const TableSettings& settings() const;
  const RowLayout& layout() const;
  uint32_t weight_bytes() const;  // of a row, in the table's element type
  uint64_t rows() const;
  uint64_t bytes() const;  // of memory that rows and index have from the kernel
  // Whether the key lies in one of the table's partitions. Only such keys may be given a row; a
  // peer's keys are to be asked about first.
  bool Owns(uint64_t key) const;

  // The slot of each key, kNoSlot where there is none. Batched and prefetched; duplicates legal.
  void Find(std::span<const uint64_t> keys, std::span<Slot> slots) const;
  // As Find, but makes missing rows (initial weights, zero state, no popularity).
  void FindOrCreate(std::span<const uint64_t> keys, std::span<Slot> slots);

  // Copies weights [keys, dim] out; keys without a row give their initial value. `popularity`
  // (empty or [keys]) is decayed to `step`; 0 for keys without a row, and in a table without the
  // column.
  void Read(std::span<const uint64_t> keys, std::span<const Slot> slots, uint32_t step,
            std::span<float> weights, std::span<float> popularity) const;
  // The same with weights [keys, weight_bytes] in the table's element type.
  void ReadRaw(std::span<const uint64_t> keys, std::span<const Slot> slots, uint32_t step,
               std::span<std::byte> rows, std::span<float> popularity) const;
  // Of an FP32 table.
  std::span<const float> Weights(Slot slot) const;

  // One optimizer update of each slot (distinct slots).
  struct UpdateBatch {
    // Of the slots; needed where numbers are rounded at random, so by tables that are not FP32 and
    // for popularity in less than 4 bytes, and to know the most popular keys; where slots are
    // counters; and while a cut is under way.
    std::span<const uint64_t> keys;
    std::span<const Slot> slots;
    std::span<const float> gradients;  // [slots, dim], summed
    // In place of these: where each row's lies, dim floats.
    std::span<const float* const> gradient_rows = {};  // [slots]
    // Sightings to add [slots], or empty; of no effect without a popularity column.
    std::span<const float> counts;
    uint32_t step = 0;               // the global step
    float learning_rate_factor = 1;  // multiplies the optimizer's own rate
    float gradient_scale = 1;        // multiplies the gradients
    // What the rows were before, as ReadRaw gives it for `step` - 1; or empty. A row is fetched
    // from memory once for both.
    std::span<std::byte> kept_rows;    // [slots, weight_bytes]
    std::span<float> kept_popularity;  // [slots]
  };
  void Apply(const UpdateBatch& batch);
  // The same for tables that need no keys.
  void Update(std::span<const Slot> slots, std::span<const float> gradients,
              std::span<const float> counts, uint32_t step, float learning_rate_factor) {
    Apply({.keys = {},
           .slots = slots,
           .gradients = gradients,
           .counts = counts,
           .step = step,
           .learning_rate_factor = learning_rate_factor,
           .kept_rows = {},
           .kept_popularity = {}});
  }

  // -- Slots (ps/row_slots.h) --
  // Values [keys, slots] of all slots, those that fade as of `step`; initial ones without a row.
  void ReadSlots(std::span<const Slot> slots, uint32_t step, std::span<float> values) const;
  // Takes what was observed of rows that have been updated in this step.
  void Observe(std::span<const uint64_t> keys, std::span<const Slot> slots,
               std::span<const Observation> observed);
  // Slots that are counters (ADD): their totals and summaries stand in this order.
  std::span<const uint32_t> counters() const;

  // Where counts fade by event time: the newest event (seconds since 1970) up to this step, told
  // before the step is applied. Time never goes back.
  void SetTime(uint32_t step, uint32_t time);

  // Sets the weights of a key that has no row yet; a row that exists is left alone.
  void Assign(uint64_t key, std::span<const float> weights);
  // Sets a whole row, as a checkpoint read it. DataLoss when the sizes do not fit the layout or the
  // key is not the table's.
  Status Restore(const RowView& row);

  // Takes rows out; keys without one are passed over. The number of rows that were there.
  uint64_t Erase(std::span<const uint64_t> keys);
  // Puts the rows of a partition close together and gives back what they leave free: worth it when
  // many were erased. Slots of the partition change.
  void CompactPartition(PartitionId partition);

  // Takes out the rows that the settings' rules let go at this step (ps/expiry.h), partition by
  // partition, and compacts those that lost many. Slots change. The number of rows that went.
  uint64_t Expire(uint32_t step);
  // Sightings of keys without a row; null where every key is admitted.
  Admission* admission();
  const Admission* admission() const;
  // Memory that one more row takes, without what chunks and indexes have in reserve.
  uint32_t bytes_of_row() const;

  // How popular the rows are, and how their counters stand, as of the step.
  PopularitySummary popularity_summary(uint32_t step) const;
  std::vector<PopularitySummary> counter_summaries(uint32_t step) const;
  // Decayed sums over the whole table, whether or not the key has a row; all shards have the same
  // values: total <- total * decay + added, once per applied step.
  struct Totals {
    double popularity = 0;      // positive sightings
    std::vector<double> slots;  // by counter
  };
  Totals totals(uint32_t step) const;
  void AddToTotals(const Totals& added, uint32_t step);
  // Totals and the step that they are valid for, for checkpoints.
  struct Total {
    double value = 0;  // popularity
    uint32_t step = 0;
    uint32_t time = 0;  // newest event, where counts fade by event time
    std::vector<double> slots = {};
    friend bool operator==(const Total&, const Total&) = default;
  };
  const Total& total() const;
  void RestoreTotal(Total total);

  // -- Checkpoints (ps/cut.h) --
  // From now on it is known which rows change between two cuts: a bit for each row.
  void FollowChanges();
  // Whether a cut of changes alone can be made: they were followed since the cut before.
  bool KnowsChanges() const;
  // Takes a cut of all rows, or of those that have changed since the cut before; one that is not
  // complete is given up. `partitions`: all that the table has, ascending.
  CutTable BeginCut(const std::vector<PartitionId>& partitions, bool changes);
  // Adds the cut's next rows to a piece of about `bytes`; they are of one partition. False when
  // there is no cut. A cut ends with its last piece.
  bool NextPiece(size_t bytes, CutPiece* piece);
  bool cutting() const;
  void EndCut();
  // Memory that the cut under way takes; not in bytes(), it goes with the cut.
  uint64_t cut_bytes() const;

  // Every row of one partition, in ascending order of key. Reads that partition only.
  void ForEachRow(PartitionId partition, const std::function<void(const RowView&)>& visit) const;
  // Forgets everything.
  void Clear();

 private:
  class Impl;
  class Updater;
  std::unique_ptr<Impl> impl_;
};

// The settings of every table of a job: embedding tables first, then dense groups; the position is
// the TableId (tables and groups count on).
std::vector<TableSettings> TablesOf(const spec::Job& job);

}  // namespace emporium::ps
