// Samples of a job, as batches with their keys: the only door between data and training. Which
// samples form micro-batch m of step t, which negatives they meet and which lag they see is a
// function of (job seed, stage, step, micro-batch) and the data alone.
//
// Immutable after Open (internal caches are guarded): every method may be called from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/batch.h"
#include "proto/ids.h"
#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::worker {

// The unique keys of one table in a batch; batch indices point into `keys`.
struct TableKeys {
  TableId table;
  bool want_popularity = false;
  std::vector<uint64_t> keys;
  std::vector<float> counts;  // positive sightings of each key; empty: the table keeps none
  // The keys of shard s are those from shard_begin[s] to before shard_begin[s + 1]; empty: the keys
  // are in another order (worker/key_order.h).
  std::vector<uint32_t> shard_begin;
  uint32_t want_slots = 0;   // slots of a row that are asked for: all of the table's, or none
  uint32_t want_totals = 0;  // ... and how many of them are counters
  // Of a training batch: bit s of observed_mask[key] says that something was observed for slot s,
  // which is observed[key, s] (slots of the table; a time as its bits, proto/frame.h).
  std::vector<uint32_t> observed_mask;
  std::vector<float> observed;
  std::vector<double> slot_totals;  // of it, by counter; empty: nothing
};

// How a slot enters (job.proto, SlotInput): as it is, or as the log of 1 + max(slot, 0), ...
enum class SlotForm : uint8_t { kValue, kLog1p, kIif, kPopularity, kAge };

// Columns of Batch::dense that are filled in when the rows are there.
struct SlotInputs {
  // Slot `slot` of each sample's row.
  struct Column {
    int32_t column = 0;
    models::RowLists rows;  // B lists of one row
    uint32_t slot = 0;
    SlotForm form = SlotForm::kValue;
    uint32_t counter = 0;  // kIif, kPopularity: number of the slot among the table's counters
  };
  std::vector<Column> columns;
  std::vector<double> time;  // [B] seconds since 1970, where a column is kAge, else empty
};

struct PlannedBatch {
  models::Batch batch;
  SlotInputs slots;
  std::vector<TableKeys> tables;  // ascending by table; only tables of features that occur
  // Training: the newest event of the samples, as pushes carry it (proto/frame.h).
  uint32_t event_time = 0;
};

// Seconds since 1970 as pushes carry them: what was before counts as its first second.
uint32_t PushedTime(double seconds);

// How a train stage is cut into steps.
struct StagePlan {
  uint64_t samples = 0;  // per epoch
  uint32_t micro_batch_size = 0;
  uint32_t micro_batches_per_step = 0;
  uint64_t steps_per_epoch = 0;
  uint64_t total_steps = 0;

  // Micro-batches of a step: fewer in an epoch's last.
  uint32_t MicroBatches(Step step) const;
};

// A chunk of an evaluation. Retrieval: batch.samples users with histories as of the cut. Pointwise:
// rows with labels.
struct EvalBatch {
  PlannedBatch planned;
  std::vector<int32_t> user;  // retrieval: user numbers [B]; the floors look their past up
  // Leave-one-out of a model with counters: the time of each user's own sample, as of which its
  // counters are taken [B]. Empty: as of the cut, which is the same for all.
  std::vector<double> counter_time;
  // Retrieval, ragged by user [B + 1]: the items to be found and the items that are left out of
  // the ranking.
  std::vector<int32_t> target_offset;
  std::vector<int32_t> target;  // item ids (0 .. items-1)
  std::vector<int32_t> masked_offset;
  std::vector<int32_t> masked;
  // Value of each slice column for each sample: slice[c][b], a code of that column
  // (Dataset::text), c in the order of Evaluate::slice_column; -1 where the sample has none.
  std::vector<std::vector<int32_t>> slice;
  // Pointwise (worker/task_labels.h): the group of each sample for each grouped metric, and the
  // popularity bucket of its item; empty where the data has no such columns.
  std::vector<std::vector<uint64_t>> group;
  std::vector<uint8_t> popularity_bucket;
  // With sampled negatives, otherwise empty: the items that are ranked beside what is to be found,
  // from ranked_offset[i] to before ranked_offset[i + 1] of ranked_item. Retrieval: i is the user.
  // Pointwise: i is an evaluated event; these are the first `item.size()` samples, with those
  // items, and the further samples are the ranked items', in this order. What has none is not
  // ranked among them.
  std::vector<int32_t> item;
  std::vector<int32_t> ranked_offset;
  std::vector<int32_t> ranked_item;
};

// A range of the catalogue.
struct ItemBatch {
  PlannedBatch planned;  // planned.batch.items only
  int32_t first_item = 0;
  std::vector<float> log_counts;  // [I, K] as of the wanted moment; empty: no counters
};

enum class EvalSplit : uint8_t { kTest, kValidation };

// The moment as of which a history or a counter is taken.
enum class AsOf : uint8_t {
  kValidationCut,  // start of validation
  kTestCut,        // start of test
  kNow,            // after the newest event: export
};

class CounterCursor;
class Dataset;

class BatchSource {
 public:
  // `dataset_dir` holds what PrepareDataset (worker/prepare.h) made of the job's data.
  static Result<std::unique_ptr<BatchSource>> Open(const spec::Job& job,
                                                   const std::string& dataset_dir);
  virtual ~BatchSource() = default;
  virtual const Dataset& dataset() const = 0;

  virtual StagePlan plan(StageId stage) const = 0;
  virtual Result<PlannedBatch> Train(StageId stage, Step step, MicroBatch m) const = 0;
  // The files and lines of the samples of Train's micro-batch (not of their histories and
  // negatives), for people: worker/origin.h.
  virtual std::string OriginOf(StageId stage, Step step, MicroBatch m) const = 0;

  // Chunks of an evaluation; `stage` is the evaluate stage (or the train stage for validation).
  virtual int64_t EvalChunks(StageId stage, EvalSplit split) const = 0;
  virtual Result<EvalBatch> Eval(StageId stage, EvalSplit split, int64_t chunk) const = 0;

  // The whole catalogue, chunk by chunk, in order of item.
  virtual int64_t ItemChunks() const = 0;
  virtual Result<ItemBatch> Items(int64_t chunk, AsOf as_of) const = 0;

  // The counters of the whole catalogue at one moment after another, for EvalBatch::counter_time;
  // null when the model has none. The caller's own; refers to this.
  virtual std::unique_ptr<CounterCursor> Counters() const = 0;

  // Users with a history, chunk by chunk, for export; ids are positions in dataset().users().
  virtual int64_t UserChunks() const = 0;
  virtual Result<PlannedBatch> Users(int64_t chunk, AsOf as_of,
                                     std::vector<int32_t>* user_ids) const = 0;
};

}  // namespace emporium::worker
