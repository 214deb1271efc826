// DeepFM (models.md M1): linear part + factorisation machine + MLP over the fields of a sample.
//
//   x     = [e_1; ...; e_F] [B, F d]
//   logit = sum_f w_f + <w_dense, dense>                           with a linear table
//         + 1/2 sum_k ((sum_f e_fk)^2 - sum_f e_fk^2)              with fm
//         + MLP([x; dense]), else a learned bias
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/device.h"
#include "models/kernels.h"
#include "models/model.h"
#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium::models {

struct DeepFmOptions {
  struct Field {
    std::string feature;
    PoolKind pool = PoolKind::kMean;
  };
  std::vector<Field> fields;
  int32_t dim = 0;
  int32_t dense_width = 0;
  bool linear = false;
  bool fm = false;
  std::vector<uint32_t> hidden;
  float dropout = 0;
  Needs needs;
};

Result<DeepFmOptions> ParseDeepFm(const spec::Job& job);
std::unique_ptr<Model> MakeDeepFm(DeepFmOptions options, Device& device);

}  // namespace emporium::models
