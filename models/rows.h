// Embedding rows in LibTorch's graph: nodes around the loops of models/kernels.h, which PyTorch's
// own index_select, embedding_bag and their backward passes would do slower and in several copies.
//
// A node that reads a table's rows has no input edge: its backward adds to TableRows::gradient. A
// node that reads a tensor returns that tensor's gradient. The order of sums is fixed: parts in
// blocks of output rows, in the order in which they were given.
//
// The loops run on the pass's device. Index arrays, counters and constants are of the host's
// memory; they must live as long as the graph: they belong to the batch or to Pass::Keep.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "models/batch.h"
#include "models/kernels.h"
#include "models/pass.h"
#include "models/row_kernels.h"

namespace emporium::models {

// Where an assembled matrix takes `dim` of its columns from. Parts that name the same columns are
// added up; parts must not overlap otherwise.
struct RowPart {
  const TableRows* table = nullptr;  // rows of a table, or
  at::Tensor source;                 // rows of a tensor [n, dim] of the graph, or
  const float* constant = nullptr;   // numbers without gradient [rows, dim]
  int32_t dim = 0;                   // filled in for table and source
  Lists lists;                       // what each output row takes
  int32_t column = 0;
  float weight = 1;
};

// The lists of a batch's column. Lists of exactly one row each are read without offsets.
Lists ListsOf(const RowLists& lists, PoolKind pool);
// One row of index[i] each; negative: none.
Lists ListsOf(std::span<const int32_t> index);

// The pooled rows of a batch's column. A batch in which every list is empty may come without the
// table.
RowPart TablePart(const Pass& pass, const RowLists& lists, PoolKind pool, int32_t dim);

// [rows, width], every column named by at least one part.
at::Tensor AssembleRows(Pass& pass, int64_t rows, int64_t width, std::vector<RowPart> parts);

// Rows of `source` [n, dim]: [index.size(), dim].
at::Tensor TakeRows(Pass& pass, const at::Tensor& source, std::span<const int32_t> index);

// Row i is rows offset[i] to before offset[i + 1] of `source`, pooled; zeros where there are none.
at::Tensor PoolRows(Pass& pass, const at::Tensor& source, std::span<const int32_t> offset,
                    PoolKind pool);

// See kernels.h. `items` [n, dim]; `events` and `offset` must live as long as the graph.
at::Tensor AgePoolRows(Pass& pass, const at::Tensor& items, const at::Tensor& by_age,
                       const at::Tensor& by_count, std::vector<PoolEvent> events,
                       std::span<const int32_t> offset);

// [samples]; the first fields * dim columns of `x` are the fields' vectors.
at::Tensor FactorizationMachineOf(Pass& pass, const at::Tensor& x, int32_t fields, int32_t dim);

// [n] sums of beta-weighted counters; see kernels.h. `counters` must live as long as the graph.
at::Tensor WeighCountersBy(Pass& pass, const at::Tensor& beta, std::span<const float> counters,
                           std::span<const int32_t> rows, int64_t n);

}  // namespace emporium::models
