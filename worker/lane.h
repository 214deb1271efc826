// A lane computes micro-batches, one at a time: it has a device and a model of its own and the
// memory that goes with them. Several lanes run side by side, each on its thread with one LibTorch
// thread.
//
// Belongs to one thread at a time. What it computes does not depend on which lane it is, nor on
// what it computed before.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "models/device.h"
#include "models/model.h"
#include "proto/status.h"
#include "worker/dense.h"
#include "worker/work.h"

namespace emporium::worker {

// Makes a model that computes on the device.
using ModelFactory = std::function<Result<std::unique_ptr<models::Model>>(models::Device&)>;

class Lane {
 public:
  // The model was made for the device.
  Lane(std::unique_ptr<models::Device> device, std::unique_ptr<models::Model> model,
       const DenseLayout& layout);

  const models::Model& model() const { return *model_; }
  // work.rows and work.dense hold values; writes their gradients and work.losses.
  Status Compute(const spec::Train& train, Work* work);
  // The initial values of all dense parameters.
  std::span<const float> InitialDense(uint64_t seed);

 private:
  std::unique_ptr<models::Device> device_;
  std::unique_ptr<models::Model> model_;
  const DenseLayout& layout_;
  std::vector<float> values_;  // dense parameters, in the order of the model
  std::vector<float> gradient_;
};

}  // namespace emporium::worker
