// What the optimizers share: a rule for one row is run over the rows of a batch, compiled for each
// level of vector instructions. Values only; safe from any thread.
//
// A rule is a struct of numbers with
//   template <SimdLevel kLevel>
//   void Row(float* w, float* state, const float* g, float scale, size_t n, RowClock clock) const
// in which g is multiplied by `scale` (the batch's, and what clipping leaves of it), every loop
// goes element by element, and every sum over elements is SumOfSquares.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "proto/simd.h"
#include "ps/optimizer.h"

namespace emporium::ps {

// The sum of (scale * g + l2 * w)^2 over a row, in this order at every level: element i is added to
// the partial sum i mod 16; of the 16 sums the upper half is added to the lower until one is left.
template <SimdLevel kLevel>
struct SumOfSquares {
  static float Of(const float* g, float scale, const float* w, float l2, size_t n) {
    float partial[16] = {};
    for (size_t i = 0; i < n; ++i) {
      const float slope = scale * g[i] + l2 * w[i];
      partial[i % 16] += slope * slope;
    }
    for (size_t half = 8; half > 0; half /= 2) {
      for (size_t k = 0; k < half; ++k) partial[k] += partial[k + half];
    }
    return partial[0];
  }
};

EMPORIUM_AVX2 inline float SumOfEight(__m256 sums) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

// Lanes that a row does not have are zeros: they add nothing to a sum that starts at +0.
template <>
struct SumOfSquares<SimdLevel::kAvx2> {
  EMPORIUM_AVX2 static __m256 Add(__m256 sum, __m256 g, __m256 scale, __m256 w, __m256 l2) {
    const __m256 slope = _mm256_add_ps(_mm256_mul_ps(scale, g), _mm256_mul_ps(l2, w));
    return _mm256_add_ps(sum, _mm256_mul_ps(slope, slope));
  }
  EMPORIUM_AVX2 static float Of(const float* g, float scale, const float* w, float l2, size_t n) {
    const __m256 scales = _mm256_set1_ps(scale);
    const __m256 l2s = _mm256_set1_ps(l2);
    __m256 low = _mm256_setzero_ps();
    __m256 high = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
      low = Add(low, _mm256_loadu_ps(g + i), scales, _mm256_loadu_ps(w + i), l2s);
      high = Add(high, _mm256_loadu_ps(g + i + 8), scales, _mm256_loadu_ps(w + i + 8), l2s);
    }
    if (i < n) {
      const __m256i left = _mm256_set1_epi32(static_cast<int>(n - i));
      const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
      __m256i mask = _mm256_cmpgt_epi32(left, lane);
      low = Add(low, _mm256_maskload_ps(g + i, mask), scales, _mm256_maskload_ps(w + i, mask), l2s);
      if (i + 8 < n) {
        i += 8;
        mask = _mm256_cmpgt_epi32(left, _mm256_add_epi32(lane, _mm256_set1_epi32(8)));
        high = Add(high, _mm256_maskload_ps(g + i, mask), scales, _mm256_maskload_ps(w + i, mask),
                   l2s);
      }
    }
    return SumOfEight(_mm256_add_ps(low, high));
  }
};

// What a row's gradient is multiplied by: `scale`, or less, so that its norm is then at most
// `clip_norm` (0: not clipped). A gradient whose squares are beyond fp32 leaves nothing; one with a
// NaN stays.
template <SimdLevel kLevel>
EMPORIUM_INLINE float ClipScale(const float* g, size_t n, float clip_norm, float scale) {
  if (clip_norm == 0) return scale;
  const float norm = std::sqrt(SumOfSquares<kLevel>::Of(g, 1, g, 0, n));
  return scale * norm > clip_norm ? clip_norm / norm : scale;
}

template <SimdLevel kLevel, class Rule>
EMPORIUM_INLINE void RunRows(const Rule& rule, float clip_norm, const RowBatch& batch) {
  const size_t n = batch.dim;
  for (size_t r = 0; r < batch.rows; ++r) {
    const float* g = batch.gradients[r];
    rule.template Row<kLevel>(batch.weights[r], batch.state == nullptr ? nullptr : batch.state[r],
                              g, ClipScale<kLevel>(g, n, clip_norm, batch.gradient_scale), n,
                              {batch.updates == nullptr ? 0 : batch.updates[r],
                               batch.missed == nullptr ? 0 : batch.missed[r]});
  }
}

template <class Rule>
void RunPlain(const Rule& rule, float clip_norm, const RowBatch& batch) {
  RunRows<SimdLevel::kPlain>(rule, clip_norm, batch);
}
template <class Rule>
EMPORIUM_AVX2 void RunAvx2(const Rule& rule, float clip_norm, const RowBatch& batch) {
  RunRows<SimdLevel::kAvx2>(rule, clip_norm, batch);
}
// Wider vectors are no faster: division and square root bound these loops.
template <class Rule>
void RunRule(SimdLevel level, const Rule& rule, float clip_norm, const RowBatch& batch) {
  if (level == SimdLevel::kPlain) {
    RunPlain(rule, clip_norm, batch);
  } else {
    RunAvx2(rule, clip_norm, batch);
  }
}

// An optimizer that is a rule and does not ask for the number of updates. Beside Row, the rule is
// made from the optimizer's spec and has
//   float rate                                           multiplied by the learning-rate factor
//   uint32_t StateFloats(uint32_t dim) const;  void InitState(weights, state) const
template <class Rule>
class RuleOptimizer final : public Optimizer {
 public:
  explicit RuleOptimizer(const spec::Optimizer& spec) : clip_norm_(spec.clip_norm()), rule_(spec) {}

  uint32_t StateFloats(uint32_t dim) const override { return rule_.StateFloats(dim); }
  void InitState(std::span<const float> weights, std::span<float> state) const override {
    rule_.InitState(weights, state);
  }
  void ApplyWith(SimdLevel level, const RowBatch& batch) const override {
    Rule rule = rule_;
    rule.rate *= batch.learning_rate_factor;
    RunRule(level, rule, clip_norm_, batch);
  }

 private:
  const float clip_norm_;
  const Rule rule_;
};

}  // namespace emporium::ps
