// One micro-batch as a model sees it: plain columns, no tensors, no keys. Made by the worker's
// batch builder, read by a model. Values; a batch belongs to one thread at a time.
//
// Every key of a batch has been replaced by an index into the unique rows of its table (RowSet), so
// that a row enters the graph once, as one leaf tensor per table.
//
// Invariants: offsets start at 0, never fall, and end at the number of values; every index lies in
// [0, rows of its table).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/ids.h"

namespace emporium::models {

// Ragged lists of rows of one table: list i is index[offset[i] .. offset[i + 1]).
struct RowLists {
  TableId table;
  std::vector<int32_t> index;
  std::vector<int32_t> offset;  // lists + 1 entries

  int32_t lists() const { return offset.empty() ? 0 : static_cast<int32_t>(offset.size()) - 1; }
};

// The distinct items that occur in a batch (candidates and history), each once.
struct ItemColumns {
  int32_t count = 0;  // I
  RowLists id;        // exactly one row each
  RowLists title;     // words; empty lists where there are none; no lists when not configured
};

// The histories of a batch, oldest event first.
struct HistoryColumns {
  std::vector<int32_t> offset;  // [B + 1]
  std::vector<int32_t> item;    // index into ItemColumns, -1 for a search event
  RowLists action;              // one row per event, or no lists
  RowLists query;               // words per event (empty list for an item event), or no lists
  std::vector<float> age_days;  // reference time minus event time, >= 0
  std::vector<int32_t> count;   // times the item occurred up to here (distinct_items), else 1
};

// What a retrieval sample is trained or scored against.
struct CandidateColumns {
  std::vector<int32_t> item;     // [C] index into ItemColumns: candidates shared by the batch
  std::vector<float> log_q;      // [C] log of the expected number of draws; 0 for positives' own
  std::vector<uint8_t> sampled;  // [C] 1: in the softmax denominator as a negative of every row

  // In-batch negatives. Only the model sees the popularity column, so their draws are its to add:
  //   draws(c) = (drawn > 0 ? exp(log_q[c]) : 0) + in_batch_draws * popularity(c) /
  //   popularity_total
  // for every candidate with sampled = 1. `in_batch` is empty (and in_batch_draws 0) in a stage
  // without them; log_q is 0 where only they could have brought the candidate (drawn = 0).
  std::vector<uint8_t> in_batch;  // [C] 1: a positive of this micro-batch, so sampled = 1 too
  float in_batch_draws = 0;       // pairs (row, positive) of the micro-batch
  float drawn = 0;                // draws (uniform, unigram, all) that log_q speaks of

  // Rows are what the softmax is taken for. Row b is the user of sample b, R = B, or with `event`
  // (every_position): row r is the user as he was after the history event event[r] (an index into
  // HistoryColumns), and a sample has any number of rows.
  std::vector<int32_t> event;  // [R], or empty

  // Positives: pairs (row, candidate); row-major, `positive_offset` [R + 1].
  std::vector<int32_t> positive_offset;
  std::vector<int32_t> positive;  // index into item [C]
  // Candidates that must not count as negatives of a row: its past, and when it has several
  // positives, all of them. A row's own positive still stands in its own denominator.
  std::vector<int32_t> masked_offset;  // [R + 1]
  std::vector<int32_t> masked;         // index into item [C]
  // Ranking groups: candidates of a row with labels. Empty for the softmax.
  std::vector<int32_t> group_offset;
  std::vector<int32_t> group;      // index into item [C]
  std::vector<float> group_label;  // 1 or 0

  // Learned popularity: log(1 + count_k(item c, R of row b)); [R, C, K] row-major, or empty.
  std::vector<float> log_counts;
};

// A field of a pointwise sample, or context of a retrieval sample.
//
// A model with a linear table: the fields of all features come first, then one again of each of the
// model's own (not the position tower's), in the same order, whose rows are those of the linear
// table.
struct FieldColumn {
  std::string feature;
  RowLists rows;  // B lists; exactly one row each unless pooled
};

struct Batch {
  int32_t samples = 0;  // B
  // Of a stage that weighs tasks by their losses: the epoch's row in the history of losses, and
  // that of the stage's first epoch (models/tasks.h).
  int32_t period = 0;
  int32_t first_period = 0;
  std::vector<float> weight;        // [B] sample weights; empty: all 1
  std::vector<float> label;         // [tasks, B] pointwise labels, else empty
  std::vector<int32_t> scenario;    // [B] numbers of data.scenario's values, or empty
  std::vector<FieldColumn> fields;  // pointwise features, or context features
  int32_t dense_width = 0;
  std::vector<float> dense;  // [B, dense_width]
  // [B] where each sample was shown, the first place is 1 and 0 is not known; of a model with a
  // position tower, else empty.
  std::vector<int32_t> place;
  // Of each event of the pairs' histories, where the model asks (ReadsEventAges,
  // proto/model_options.h): reference time minus event time, >= 0; else empty.
  std::vector<float> event_age_days;

  ItemColumns items;  // retrieval only, as are the two below
  HistoryColumns history;
  CandidateColumns candidates;
};

}  // namespace emporium::models
