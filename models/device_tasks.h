// What a GPU computes of models/kernels.h, as plain functions of one element: task(item, k) for
// item in [0, task.items) and k in [0, task.width). Elements do not depend on each other, so they
// may run in any order and at once; each sums its own terms in the order in which the CPU's loops
// do, in plain fp32, without atomic additions. So a result does not depend on how a GPU schedules
// its threads.
//
// The same functions are compiled for the GPU (models/device_tasks.cu) and, in tests, for the CPU.
// C++17 without LibTorch: nvcc reads this file. Every pointer is of the device's memory.
#pragma once

#include <cmath>
#include <cstdint>

#include "models/kernel_types.h"

namespace emporium::models {

// As the CPU's loops sum it: eight sums side by side, the rest, then their total.
EMPORIUM_ON_DEVICE inline float DotInOrder(const float* a, const float* b, int32_t n) {
  float sums[8] = {};
  int32_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int32_t k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  }
  float sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (float s : sums) sum += s;
  return sum;
}

// Output rows [0, rows) of all columns: item = group * rows + output row.
struct GatherTask {
  struct Part {
    const float* rows;
    Lists lists;
    float weight;
  };
  struct Group {  // the columns [column, column + dim): parts [first, last), added in this order
    int32_t first;
    int32_t last;
    int32_t column;
    int32_t dim;
  };
  const Part* parts;
  const Group* groups;
  int64_t rows;
  int64_t stride;
  float* out;
  int64_t items;  // groups * rows
  int32_t width;  // the widest group's dim

  EMPORIUM_ON_DEVICE static float Add(const Part& part, int32_t dim, int64_t row, int32_t k,
                                      bool first, float value) {
    const Lists& lists = part.lists;
    if (first) value = 0;
    if (lists.begin == nullptr) {
      const int64_t r = lists.index == nullptr ? row : lists.index[row];
      if (r < 0) return value;
      const float x = part.rows[r * dim + k];
      if (first && part.weight == 1) return x;
      return value + part.weight * x;
    }
    const int32_t begin = lists.begin[row];
    const int32_t end = lists.end[row];
    if (begin == end) return value;
    const float factor = part.weight * PoolFactor(lists.pool, end - begin);
    for (int32_t j = begin; j < end; ++j) {
      value += factor * part.rows[static_cast<int64_t>(lists.index[j]) * dim + k];
    }
    return value;
  }

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t k) const {
    const Group& group = groups[item / rows];
    if (k >= group.dim) return;
    const int64_t row = item % rows;
    float value = 0;
    for (int32_t p = group.first; p < group.last; ++p) {
      value = Add(parts[p], group.dim, row, k, p == group.first, value);
    }
    out[row * stride + group.column + k] = value;
  }
};

// Adds to target row row[u] the terms [begin[u], begin[u + 1]), in their order; term t is
// factor[t] * source[from[t] + k]. A row occurs once, so one thread owns each of its numbers.
struct ScatterTask {
  const int32_t* row;
  const int32_t* begin;
  const int64_t* from;
  const float* factor;         // null: 1
  const int32_t* factor_from;  // null: factor[t], else factor[factor_from[t]]
  const float* source;
  float* target;
  int64_t items;  // distinct rows
  int32_t width;  // floats of a row

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t k) const {
    float* at = target + static_cast<int64_t>(row[item]) * width + k;
    float value = *at;
    for (int32_t t = begin[item]; t < begin[item + 1]; ++t) {
      const float x = source[from[t] + k];
      if (factor == nullptr) {
        value += x;
      } else {
        value += factor[factor_from == nullptr ? t : factor_from[t]] * x;
      }
    }
    *at = value;
  }
};

// The softmax of one sample's events; see AgePool.
struct AgeSharesTask {
  const float* by_age;
  const float* by_count;
  const PoolEvent* events;
  const int32_t* offset;
  float* shares;
  int64_t items;  // samples
  int32_t width;  // 1

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t) const {
    const int32_t begin = offset[item];
    const int32_t end = offset[item + 1];
    float highest = 0;
    for (int32_t j = begin; j < end; ++j) {
      shares[j] = by_age[events[j].age] + by_count[events[j].count];
      if (j == begin || shares[j] > highest) highest = shares[j];
    }
    float total = 0;
    for (int32_t j = begin; j < end; ++j) {
      shares[j] = expf(shares[j] - highest);
      total += shares[j];
    }
    for (int32_t j = begin; j < end; ++j) shares[j] /= total;
  }
};

struct AgeSumTask {
  const float* rows;
  const PoolEvent* events;
  const int32_t* offset;
  const float* shares;
  float* out;
  int64_t items;  // samples
  int32_t width;  // dim

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t k) const {
    float value = 0;
    for (int32_t j = offset[item]; j < offset[item + 1]; ++j) {
      value += shares[j] * rows[static_cast<int64_t>(events[j].item) * width + k];
    }
    out[item * width + k] = value;
  }
};

// The gradient of every share, then (AgeLogitTask) of every event's logit.
struct AgePullTask {
  const float* rows;
  const PoolEvent* events;
  const int32_t* sample;  // of each event
  const float* out_gradient;
  int32_t dim;
  float* pull;
  int64_t items;  // events
  int32_t width;  // 1

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t) const {
    pull[item] = DotInOrder(rows + static_cast<int64_t>(events[item].item) * dim,
                            out_gradient + static_cast<int64_t>(sample[item]) * dim, dim);
  }
};

struct AgeLogitTask {
  const int32_t* offset;
  const float* shares;
  float* pull;    // becomes the logits' gradient
  int64_t items;  // samples
  int32_t width;  // 1

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t) const {
    float mean = 0;
    for (int32_t j = offset[item]; j < offset[item + 1]; ++j) mean += shares[j] * pull[j];
    for (int32_t j = offset[item]; j < offset[item + 1]; ++j)
      pull[j] = shares[j] * (pull[j] - mean);
  }
};

struct FmSumTask {
  const float* x;
  int64_t stride;
  int32_t fields;
  float* sums;
  int64_t items;  // samples
  int32_t width;  // dim

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t k) const {
    float value = 0;
    for (int32_t f = 0; f < fields; ++f) {
      value += x[item * stride + static_cast<int64_t>(f) * width + k];
    }
    sums[item * width + k] = value;
  }
};

struct FmOutTask {
  const float* x;
  int64_t stride;
  int32_t fields;
  int32_t dim;
  const float* sums;
  float* out;
  int64_t items;  // samples
  int32_t width;  // 1

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t) const {
    const float* row = x + item * stride;
    const float* sum = sums + item * dim;
    out[item] = 0.5f * (DotInOrder(sum, sum, dim) - DotInOrder(row, row, fields * dim));
  }
};

struct FmGradientTask {
  const float* x;
  int64_t stride;
  int32_t dim;
  const float* sums;
  const float* out_gradient;
  float* gradient_x;
  int64_t items;  // samples
  int32_t width;  // fields * dim

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t k) const {
    const int64_t at = item * stride + k;
    gradient_x[at] = out_gradient[item] * (sums[item * dim + k % dim] - x[at]);
  }
};

struct CounterTask {
  const float* counters;
  const int32_t* rows;  // null: row i
  const float* beta;
  int32_t counted;  // floats of beta
  float* out;
  int64_t items;
  int32_t width;  // 1

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t) const {
    const float* row = counters + (rows == nullptr ? item : rows[item]) * counted;
    float sum = 0;
    for (int32_t k = 0; k < counted; ++k) sum += beta[k] * row[k];
    out[item] = sum;
  }
};

// The terms of one chunk, summed in double; CounterTotalTask adds the chunks in their order. The
// CPU has one sum over all terms, so the last bits may differ from its.
struct CounterChunkTask {
  static constexpr int64_t kTerms = 512;
  const float* counters;
  const int32_t* rows;  // null: row i
  int64_t n;
  const float* gradient;
  double* sums;   // [items, width]
  int64_t items;  // chunks
  int32_t width;  // floats of beta

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t k) const {
    const int64_t begin = item * kTerms;
    const int64_t end = begin + kTerms < n ? begin + kTerms : n;
    double sum = 0;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = rows == nullptr ? i : rows[i];
      sum += static_cast<double>(gradient[i] * counters[row * width + k]);
    }
    sums[item * width + k] = sum;
  }
};

struct CounterTotalTask {
  const double* sums;  // [chunks, width]
  int64_t chunks;
  float* beta_gradient;
  int64_t items;  // 1
  int32_t width;

  EMPORIUM_ON_DEVICE void operator()(int64_t, int32_t k) const {
    double sum = 0;
    for (int64_t c = 0; c < chunks; ++c) sum += sums[c * width + k];
    beta_gradient[k] += static_cast<float>(sum);
  }
};

// out[item] = ((scale 0 * part 0 + scale 1 * part 1) + scale 2 * part 2) + ...: the sum that a
// shard makes of the pushes of a step. Parts lie `stride` floats apart.
struct OrderedSumTask {
  const float* parts;
  const float* scale;
  int32_t count;  // at least 1
  int64_t stride;
  float* out;
  int64_t items;
  int32_t width;  // 1

  EMPORIUM_ON_DEVICE void operator()(int64_t item, int32_t) const {
    float sum = scale[0] * parts[item];
    for (int32_t p = 1; p < count; ++p) sum += scale[p] * parts[p * stride + item];
    out[item] = sum;
  }
};

}  // namespace emporium::models
