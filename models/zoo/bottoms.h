// What lies under several heads, which are tasks (models/zoo/multi_task.cc) or scenarios
// (models/zoo/scenario_towers.cc): one vector y_k of the inputs x for each [CODE: FuxiCTR].
//
//   shared MLP   y_k = MLP(x)
//   mixture      y_k = sum_e softmax_e(gate_k(x)) f_e(x)
//   extraction   layers of customised gate control: experts of head k and shared ones, from the
//                layer before; gate k over both, the shared gate over all experts (or only the
//                shared ones); the last layer has no shared gate
//
// A bottom holds positions in the ParameterList, no tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/parameters.h"
#include "models/pass.h"
#include "models/zoo/pointwise_model.h"

namespace emporium::models {

class Bottom {
 public:
  virtual ~Bottom() = default;
  virtual int64_t width() const = 0;  // of each y_k
  // y_k for each head: [B, width] each.
  virtual std::vector<at::Tensor> Forward(Pass& pass, const at::Tensor& x) const = 0;
};

// A bottom that is yet to be made, and what a job says of the heads on it; defaults are filled in.
struct BottomPlan {
  std::function<std::unique_ptr<Bottom>(ParameterList& list, int64_t width)> make;
  spec::Mlp tower;
  spec::Mlp gate;  // of a mixture or an extraction
};

// `heads` are what the parameters of each head are called. Complain of options that make no sense.
BottomPlan PlanSharedMlp(const PointwiseInputs& inputs, const spec::SharedBottom& given,
                         const std::vector<std::string>& heads, Complaints& complaints);
BottomPlan PlanMixture(const PointwiseInputs& inputs, const spec::Mmoe& given,
                       const std::vector<std::string>& heads, Complaints& complaints);
BottomPlan PlanExtraction(const PointwiseInputs& inputs, const spec::Ple& given,
                          const std::vector<std::string>& heads, Complaints& complaints);

}  // namespace emporium::models
