// Loops over embedding rows: gather, pool, scatter-add, age pooling, factorisation machine,
// counters. No tensors and no state: pure functions over the caller's buffers, safe from any
// thread.
//
// Every sum runs in one fixed order and in plain fp32 without fused multiply-add, so the bits are
// the same on every machine. Rows are `dim` floats one after another; output rows lie `stride`
// floats apart.
#pragma once

#include <cstdint>
#include <span>

#include "models/kernel_types.h"

namespace emporium::models {

// out[i] = pooled rows of list i, for i in [from, to); an empty list gives zeros. With `add`, added
// to what stands there. `weight` multiplies the result.
void GatherRows(const float* rows, int32_t dim, const Lists& lists, int32_t from, int32_t to,
                float weight, bool add, float* out, int64_t stride);

// The transposed operation: adds weight * gradient[i] to the rows of list i (divided as the pooling
// says), in the order of i and within a list in its order.
void ScatterAddRows(const float* gradient, int64_t stride, int32_t dim, const Lists& lists,
                    int32_t from, int32_t to, float weight, float* rows);

// out[b] = sum_j softmax_j(by_age[age_j] + by_count[count_j]) items[item_j] over the events
// [offset[b], offset[b + 1]) of sample b; zeros without events. `shares` [events] receives the
// softmax.
void AgePool(const float* items, int32_t dim, const float* by_age, const float* by_count,
             std::span<const PoolEvent> events, std::span<const int32_t> offset, float* shares,
             float* out);
// Adds the gradients of `out` to those of its inputs.
void AgePoolBackward(const float* items, int32_t dim, std::span<const PoolEvent> events,
                     std::span<const int32_t> offset, const float* shares,
                     const float* out_gradient, float* items_gradient, float* by_age_gradient,
                     float* by_count_gradient);

// out[b] = 1/2 sum_k ((sum_f x_bfk)^2 - sum_f x_bfk^2), x_b = `fields` vectors of `dim` floats.
// `sums` [samples, dim] receives sum_f x_bfk.
void FactorizationMachine(const float* x, int64_t stride, int32_t samples, int32_t fields,
                          int32_t dim, float* sums, float* out);
// gradient_x[b, f] = out_gradient[b] * (sums[b] - x[b, f]), written (not added).
void FactorizationMachineBackward(const float* x, int64_t stride, int32_t samples, int32_t fields,
                                  int32_t dim, const float* sums, const float* out_gradient,
                                  float* gradient_x);

// out[i] = sum_k beta[k] counters[row(i), k], row(i) = rows[i], or i when `rows` is empty.
void WeighCounters(const float* counters, std::span<const int32_t> rows, int64_t n,
                   std::span<const float> beta, float* out);
// Adds sum_i gradient[i] counters[row(i), k] to beta_gradient[k].
void WeighCountersBackward(const float* counters, std::span<const int32_t> rows, int64_t n,
                           const float* gradient, std::span<float> beta_gradient);

}  // namespace emporium::models
