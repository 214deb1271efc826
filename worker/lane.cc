#include "worker/lane.h"

#include <algorithm>
#include <utility>

#include "proto/check.h"
#include "worker/device.h"

namespace emporium::worker {

Lane::Lane(std::unique_ptr<models::Device> device, std::unique_ptr<models::Model> model,
           const DenseLayout& layout)
    : device_(std::move(device)),
      model_(std::move(model)),
      layout_(layout),
      values_(layout.floats()),
      gradient_(layout.floats()) {}

Status Lane::Compute(const spec::Train& train, Work* work) {
  const size_t groups = layout_.tables().size();
  for (size_t i = 0; i < groups; ++i) layout_.RowsToFlat(i, work->dense.values[i], values_);
  std::fill(gradient_.begin(), gradient_.end(), 0.0f);
  const models::DenseSet dense{values_, gradient_};
  EMPORIUM_ASSIGN_OR_RETURN(work->losses, OnDevice([&] {
                              return model_->Train(work->planned.batch, work->rows.rows, dense,
                                                   train, work->random_seed);
                            }));
  for (size_t i = 0; i < groups; ++i) layout_.FlatToRows(i, gradient_, work->dense.gradients[i]);
  return Status::Ok();
}

std::span<const float> Lane::InitialDense(uint64_t seed) {
  model_->Initialize(seed, values_);
  return values_;
}

}  // namespace emporium::worker
