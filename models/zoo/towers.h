// The towers of the two-tower model: what an item looks like and what a user looks like. They hold
// options and positions of parameters, no tensors; one object serves any number of passes.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/layers/layers.h"
#include "models/layers/transformer.h"
#include "models/pass.h"
#include "models/zoo/two_tower_options.h"

namespace emporium::models {

class ItemTower {
 public:
  ItemTower(ParameterList& list, const TwoTowerOptions& options);

  // e_i = id row + title_weight * pooled title rows of the batch's items: [I, dim].
  at::Tensor Embed(Pass& pass) const;
  // Plain: e itself. Residual: x = Linear(dim, m dim)(e); blocks of x = LN(x + relu(Wx + b));
  // Linear(m dim, width). [n, width].
  at::Tensor Forward(Pass& pass, const at::Tensor& e) const;

 private:
  struct Block {
    Linear linear;
    LayerNorm norm;
  };

  TwoTowerOptions options_;
  Linear in_;
  std::vector<Block> blocks_;
  Linear out_;
};

// Post-norm encoder over [CLS, events]; an event is the sum of its parts: item (or the learned
// query vector and the query's words), action, position counted from the newest event, bucket of
// its age.
class TransformerTower {
 public:
  TransformerTower(ParameterList& list, const TwoTowerOptions& options);
  // [B, width] from e [I, dim].
  at::Tensor Forward(Pass& pass, const at::Tensor& e) const;

 private:
  struct Slots;  // the index of every part at every position

  Slots FillSlots(Pass& pass) const;

  TwoTowerOptions options_;
  std::vector<float> gap_edges_;
  ParameterId cls_;
  ParameterId query_;
  ParameterId position_;
  ParameterId gap_;
  Linear in_;
  Encoder encoder_;
};

// u = sum_j softmax_j(a[age bucket of j] + b[count of j]) v_j over the item vectors of the history.
class AgePoolingTower {
 public:
  AgePoolingTower(ParameterList& list, const TwoTowerOptions& options);
  // [B, width] from v [I, width].
  at::Tensor Forward(Pass& pass, const at::Tensor& v) const;

 private:
  TwoTowerOptions options_;
  std::vector<float> age_edges_;
  ParameterId by_age_;
  ParameterId by_count_;
};

}  // namespace emporium::models
