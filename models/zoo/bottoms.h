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

// `heads` are what the parameters of each head are called.
std::unique_ptr<Bottom> MakeSharedMlp(ParameterList& list, int64_t in, const spec::Mlp& options,
                                      size_t heads);
std::unique_ptr<Bottom> MakeMixture(ParameterList& list, int64_t in, const spec::Mmoe& options,
                                    const std::vector<std::string>& heads);
std::unique_ptr<Bottom> MakeExtraction(ParameterList& list, int64_t in, const spec::Ple& options,
                                       const std::vector<std::string>& heads);

// Complains of an MLP without hidden layers.
void ExpectHidden(const PointwiseInputs& inputs, const char* option, const spec::Mlp& mlp,
                  Complaints& complaints);
// Complains unless 1 <= count <= 1024.
void ExpectCount(const PointwiseInputs& inputs, const char* option, uint32_t count,
                 Complaints& complaints);
// The options with their defaults filled in; complains of what makes no sense.
spec::Mmoe CheckedMixture(const PointwiseInputs& inputs, const spec::Mmoe& given,
                          Complaints& complaints);
spec::Ple CheckedExtraction(const PointwiseInputs& inputs, const spec::Ple& given,
                            Complaints& complaints);

}  // namespace emporium::models
