// Position-bias towers (models.md M6) beside a model that scores samples: how much of a label is
// owed to the place at which the item was shown.
//
//   f(p, w)   = MLP([e_p; rows of w])          p: place, 0 where it is hidden; w: option `with`
//   ADDITIVE  logit = z + f(p, w) - f(0, 0)    [PAPER: Zhao et al. 2019; the last term OURS]
//   PRODUCT   log p = log p_seen + log sigma(z)              [RECALLED: PAL]
//             log p_seen = log sigma(f), or with anchor_first 0 at the first place and
//             -softplus(f) elsewhere                         [OURS]
//
// f(0, 0) ties the tower's level down: z alone is the logit at a hidden place, so what is scored is
// calibrated without the tower. ADDITIVE hides the place of a share of the training samples.
//
// A tower holds positions in the ParameterList, no tensors; it serves any number of lanes.
// Invariant: its parameters are train_only, and PointwiseModel::Train alone asks it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/job_view.h"
#include "models/kernels.h"
#include "models/layers/mlp.h"
#include "models/model.h"
#include "models/parameters.h"
#include "models/pass.h"

namespace emporium::models {

// A field of a batch as columns of a matrix of inputs.
struct InputField {
  std::string feature;
  int32_t dim = 0;
  PoolKind pool = PoolKind::kMean;
  int32_t column = 0;  // of its first number
};

struct PositionInputs {
  std::optional<spec::PositionTower> options;  // none: there is no tower
  std::vector<InputField> with;
  size_t first_field = 0;  // of a batch, that is `with`
};

// Complains of options that make no sense, of features that do not fit and of tasks that the tower
// is not made for. `first_field`: how many fields of a batch are the model's own.
PositionInputs ParsePosition(const spec::Job& job, std::span<const Task> tasks, size_t first_field,
                             Complaints& complaints);

// What the loss of a training batch is taken of (models/tasks.h): the model's tasks are the last.
struct PlacedLogits {
  at::Tensor logits;  // [tasks, B]
  std::vector<Task> tasks;

  // `labels` of the model's tasks, with those of a task before them, which every sample has.
  std::vector<float> Labels(std::span<const float> labels) const;
};

class PositionTower {
 public:
  PositionTower() = default;  // there is none
  PositionTower(ParameterList& list, const PositionInputs& inputs);
  // The model's logits with the places of the batch, for training; they alone without a tower.
  PlacedLogits Attach(Pass& pass, const at::Tensor& z, const std::vector<Task>& tasks) const;

 private:
  // Indices of the place vectors.
  std::vector<int32_t> Places(Pass& pass) const;
  // [B, width_]
  at::Tensor Inputs(Pass& pass, std::span<const int32_t> places) const;
  at::Tensor Added(Pass& pass, const at::Tensor& x, const at::Tensor& z) const;
  at::Tensor SeenAndWanted(Pass& pass, const at::Tensor& x, std::span<const int32_t> places,
                           const at::Tensor& z) const;

  PositionInputs inputs_;
  int32_t width_ = 0;
  ParameterId place_;  // [places + 1, width]
  Mlp mlp_;
};

}  // namespace emporium::models
