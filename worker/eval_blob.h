// The result of one chunk of an evaluation, as it travels to the worker that combines. This is the
// only codec. Values; any thread. Grammar (worker/blob.h):
//
//   blob      := magic u32 | version u32 | kind u32 | body
//   ranking   := cutoffs u32 | cutoff u32 x cutoffs | groups u32 | group x groups       (kind 1)
//   group     := ranker text | column i32 | value text | sum f64 x RankingSums::Size(cutoffs)
//   pointwise := rows u32 | tasks u32 | logit f32 x tasks x rows | label f32 x tasks x rows
//              | groupings u32 | (group u64 x rows) x groupings
//              | buckets u32 (rows or 0) | bucket u8 x buckets
//              | ranks u32 (rows or 0) | rank u32 x ranks
//              | columns u32 | column x columns                                        (kind 2)
//   column    := values u32 | text x values | value u32 x rows     (an index below `values`)
//   text      := bytes u32 | byte x bytes
//
// The slices travel as text, so that a reader need not trust an index into a dictionary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/status.h"

namespace emporium::worker {

// Sums over the users of a chunk that belong to one slice, by one ranker.
struct RankingGroup {
  std::string ranker;   // prefix of the metrics' names: "" is the model
  int32_t column = -1;  // slice column; -1: all users
  std::string value;    // of the slice column
  std::vector<double> sums;
};

struct RankingChunk {
  std::vector<uint32_t> cutoffs;
  std::vector<RankingGroup> groups;
};

struct PointwiseChunk {
  struct Column {
    std::vector<std::string> values;
    std::vector<uint32_t> value;  // [rows]
  };
  uint32_t rows = 0;
  std::vector<float> logits;  // [tasks, rows]
  std::vector<float> labels;
  std::vector<std::vector<uint64_t>> group;  // by grouped metric
  std::vector<uint8_t> popularity_bucket;    // 0, 1 or 2 each, or empty
  std::vector<uint32_t> rank;                // among sampled items, from 1; 0: not ranked; or empty
  std::vector<Column> columns;
};

std::string Encode(const RankingChunk& chunk);
std::string Encode(const PointwiseChunk& chunk);
// DataLoss when the bytes are not such a chunk.
Result<RankingChunk> DecodeRanking(std::string_view bytes);
Result<PointwiseChunk> DecodePointwise(std::string_view bytes);

}  // namespace emporium::worker
