#include "models/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace emporium::models {

namespace {

// Blocks of a constant count are what the compiler turns into vector instructions at -O2.
constexpr int32_t kBlock = 8;

void AddScaled(const float* __restrict in, int32_t n, float factor, float* __restrict out) {
  int32_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    for (int32_t k = 0; k < kBlock; ++k) out[i + k] += factor * in[i + k];
  }
  for (; i < n; ++i) out[i] += factor * in[i];
}

// Rows are short: a copy of a constant size needs no call.
void Copy(const float* __restrict in, int32_t n, float* __restrict out) {
  int32_t i = 0;
  for (; i + kBlock <= n; i += kBlock) std::memcpy(out + i, in + i, kBlock * sizeof(float));
  for (; i < n; ++i) out[i] = in[i];
}

void Add(const float* __restrict in, int32_t n, float* __restrict out) {
  int32_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    for (int32_t k = 0; k < kBlock; ++k) out[i + k] += in[i + k];
  }
  for (; i < n; ++i) out[i] += in[i];
}

float Dot(const float* __restrict a, const float* __restrict b, int32_t n) {
  float sums[kBlock] = {};
  int32_t i = 0;
  for (; i + kBlock <= n; i += kBlock) {
    for (int32_t k = 0; k < kBlock; ++k) sums[k] += a[i + k] * b[i + k];
  }
  float sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (float s : sums) sum += s;
  return sum;
}

// Asks for the row that a list of single rows names a little later, in this call or the next one of
// the same lists; the first lines are enough for the processor to fetch the rest.
template <bool kWrite>
void FetchAhead(const float* rows, int32_t dim, const Lists& lists, int32_t i, int32_t to) {
  constexpr int32_t kAhead = 12;
  if (lists.index == nullptr || i + kAhead >= std::max(to, lists.count)) return;
  const int32_t row = lists.index[i + kAhead];
  if (row >= 0) __builtin_prefetch(rows + static_cast<int64_t>(row) * dim, kWrite ? 1 : 0);
}

}  // namespace

void GatherRows(const float* rows, int32_t dim, const Lists& lists, int32_t from, int32_t to,
                float weight, bool add, float* out, int64_t stride) {
  const size_t bytes = sizeof(float) * static_cast<size_t>(dim);
  for (int32_t i = from; i < to; ++i) {
    float* target = out + i * stride;
    if (lists.begin == nullptr) {
      FetchAhead<false>(rows, dim, lists, i, to);
      const int32_t row = lists.index == nullptr ? i : lists.index[i];
      if (row < 0) {
        if (!add) std::memset(target, 0, bytes);
        continue;
      }
      const float* source = rows + static_cast<int64_t>(row) * dim;
      if (!add && weight == 1) {
        Copy(source, dim, target);
        continue;
      }
      if (!add) std::memset(target, 0, bytes);
      AddScaled(source, dim, weight, target);
      continue;
    }
    if (!add) std::memset(target, 0, bytes);
    const int32_t begin = lists.begin[i];
    const int32_t end = lists.end[i];
    if (begin == end) continue;
    const float factor = weight * PoolFactor(lists.pool, end - begin);
    for (int32_t j = begin; j < end; ++j) {
      AddScaled(rows + static_cast<int64_t>(lists.index[j]) * dim, dim, factor, target);
    }
  }
}

void ScatterAddRows(const float* gradient, int64_t stride, int32_t dim, const Lists& lists,
                    int32_t from, int32_t to, float weight, float* rows) {
  for (int32_t i = from; i < to; ++i) {
    const float* source = gradient + i * stride;
    if (lists.begin == nullptr) {
      FetchAhead<true>(rows, dim, lists, i, to);
      const int32_t row = lists.index == nullptr ? i : lists.index[i];
      if (row < 0) continue;
      float* target = rows + static_cast<int64_t>(row) * dim;
      if (weight == 1) {
        Add(source, dim, target);
      } else {
        AddScaled(source, dim, weight, target);
      }
      continue;
    }
    const int32_t begin = lists.begin[i];
    const int32_t end = lists.end[i];
    if (begin == end) continue;
    const float factor = weight * PoolFactor(lists.pool, end - begin);
    for (int32_t j = begin; j < end; ++j) {
      AddScaled(source, dim, factor, rows + static_cast<int64_t>(lists.index[j]) * dim);
    }
  }
}

void AgePool(const float* items, int32_t dim, const float* by_age, const float* by_count,
             std::span<const PoolEvent> events, std::span<const int32_t> offset, float* shares,
             float* out) {
  for (size_t b = 0; b + 1 < offset.size(); ++b) {
    float* target = out + static_cast<int64_t>(b) * dim;
    std::memset(target, 0, sizeof(float) * static_cast<size_t>(dim));
    const int32_t begin = offset[b];
    const int32_t end = offset[b + 1];
    if (begin == end) continue;
    float highest = -INFINITY;
    for (int32_t j = begin; j < end; ++j) {
      shares[j] = by_age[events[j].age] + by_count[events[j].count];
      highest = std::max(highest, shares[j]);
    }
    float total = 0;
    for (int32_t j = begin; j < end; ++j) {
      shares[j] = std::exp(shares[j] - highest);
      total += shares[j];
    }
    for (int32_t j = begin; j < end; ++j) {
      shares[j] /= total;
      AddScaled(items + static_cast<int64_t>(events[j].item) * dim, dim, shares[j], target);
    }
  }
}

void AgePoolBackward(const float* items, int32_t dim, std::span<const PoolEvent> events,
                     std::span<const int32_t> offset, const float* shares,
                     const float* out_gradient, float* items_gradient, float* by_age_gradient,
                     float* by_count_gradient) {
  std::vector<float> pull;  // gradient of each share
  for (size_t b = 0; b + 1 < offset.size(); ++b) {
    const float* source = out_gradient + static_cast<int64_t>(b) * dim;
    const int32_t begin = offset[b];
    const int32_t end = offset[b + 1];
    pull.resize(static_cast<size_t>(end - begin));
    float mean = 0;
    for (int32_t j = begin; j < end; ++j) {
      const int64_t row = static_cast<int64_t>(events[j].item) * dim;
      pull[j - begin] = Dot(items + row, source, dim);
      mean += shares[j] * pull[j - begin];
      AddScaled(source, dim, shares[j], items_gradient + row);
    }
    for (int32_t j = begin; j < end; ++j) {
      const float g = shares[j] * (pull[j - begin] - mean);
      by_age_gradient[events[j].age] += g;
      by_count_gradient[events[j].count] += g;
    }
  }
}

void FactorizationMachine(const float* x, int64_t stride, int32_t samples, int32_t fields,
                          int32_t dim, float* sums, float* out) {
  for (int32_t b = 0; b < samples; ++b) {
    const float* row = x + b * stride;
    float* sum = sums + static_cast<int64_t>(b) * dim;
    std::memset(sum, 0, sizeof(float) * static_cast<size_t>(dim));
    for (int32_t f = 0; f < fields; ++f) Add(row + static_cast<int64_t>(f) * dim, dim, sum);
    out[b] = 0.5f * (Dot(sum, sum, dim) - Dot(row, row, fields * dim));
  }
}

void FactorizationMachineBackward(const float* x, int64_t stride, int32_t samples, int32_t fields,
                                  int32_t dim, const float* sums, const float* out_gradient,
                                  float* gradient_x) {
  for (int32_t b = 0; b < samples; ++b) {
    const float g = out_gradient[b];
    const float* sum = sums + static_cast<int64_t>(b) * dim;
    for (int32_t f = 0; f < fields; ++f) {
      const int64_t at = b * stride + static_cast<int64_t>(f) * dim;
      for (int32_t k = 0; k < dim; ++k) gradient_x[at + k] = g * (sum[k] - x[at + k]);
    }
  }
}

void WeighCounters(const float* counters, std::span<const int32_t> rows, int64_t n,
                   std::span<const float> beta, float* out) {
  const int64_t width = static_cast<int64_t>(beta.size());
  for (int64_t i = 0; i < n; ++i) {
    const float* row = counters + (rows.empty() ? i : rows[i]) * width;
    float sum = 0;
    for (int64_t k = 0; k < width; ++k) sum += beta[k] * row[k];
    out[i] = sum;
  }
}

void WeighCountersBackward(const float* counters, std::span<const int32_t> rows, int64_t n,
                           const float* gradient, std::span<float> beta_gradient) {
  const int64_t width = static_cast<int64_t>(beta_gradient.size());
  // Half a million terms are usual (samples x catalogue): a float sum would lose digits.
  std::vector<double> sums(beta_gradient.size(), 0.0);
  for (int64_t i = 0; i < n; ++i) {
    const float* row = counters + (rows.empty() ? i : rows[i]) * width;
    for (int64_t k = 0; k < width; ++k) sums[k] += static_cast<double>(gradient[i] * row[k]);
  }
  for (int64_t k = 0; k < width; ++k) beta_gradient[k] += static_cast<float>(sums[k]);
}

}  // namespace emporium::models
