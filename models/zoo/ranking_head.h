// Logits of the ranking stage: each head scales and shifts the served similarity, and the context
// tower moves scale and shift by what training sees and serving does not. All of it is train_only:
// nothing here is reached by the exported vectors.
//
//   k        = [rows of the context features]           (da, db) = W2 relu(W1 k), W2 starts at zero
//   A:  s    = exp(a + da) c + b + db                   one (a, b) and one (da, db) for each head
//   B:  s    = exp(a) c + b + db + <W k, v>             W starts at zero
//
// c is the similarity plus the popularity part in its units (popularity / served scale), so that
// the heads rank as the exported vectors do.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "models/layers/layers.h"
#include "models/pass.h"
#include "models/zoo/two_tower_options.h"

namespace emporium::models {

class RankingHead {
 public:
  struct Logits {
    at::Tensor point;  // [G]
    at::Tensor pair;   // [G], or undefined
  };

  RankingHead() = default;
  RankingHead(ParameterList& list, const TwoTowerOptions& options);

  // similarity [G] and item_vectors [G, width] of (sample rows[g], candidate).
  Logits Forward(Pass& pass, const at::Tensor& similarity, const at::Tensor& item_vectors,
                 std::span<const int32_t> rows, bool pair) const;

 private:
  struct Head {
    ParameterId scale;
    ParameterId shift;
  };
  struct Context {      // of the groups' samples; undefined tensors without a context tower
    at::Tensor shifts;  // [G, outputs of the tower]
    at::Tensor taste;   // [G], variant B
  };

  Context SeeContext(Pass& pass, const at::Tensor& item_vectors,
                     std::span<const int32_t> rows) const;
  at::Tensor Apply(const Pass& pass, size_t head, const at::Tensor& similarity,
                   const Context& context) const;

  std::vector<TwoTowerOptions::Context> features_;
  bool variant_b_ = false;
  std::vector<Head> heads_;  // point, pair
  Linear hidden_;
  Linear out_;
  ParameterId taste_;
};

}  // namespace emporium::models
