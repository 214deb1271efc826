#include "bench/ceiling.h"

#include <torch/nn/modules/linear.h>
#include <torch/optim/adam.h>
#include <torch/types.h>

namespace emporium::bench {

struct Ceiling::Impl {
  std::vector<torch::nn::Linear> layers;
  std::unique_ptr<torch::optim::Adam> adam;
  at::Tensor rows;
  at::Tensor label;
};

Ceiling::Ceiling(int64_t batch, int64_t width, const std::vector<int64_t>& hidden)
    : impl_(std::make_unique<Impl>()) {
  std::vector<at::Tensor> parameters;
  int64_t in = width;
  for (size_t i = 0; i <= hidden.size(); ++i) {
    const int64_t out = i < hidden.size() ? hidden[i] : 1;
    impl_->layers.emplace_back(in, out);
    for (const at::Tensor& p : impl_->layers.back()->parameters()) parameters.push_back(p);
    in = out;
  }
  impl_->adam = std::make_unique<torch::optim::Adam>(parameters, torch::optim::AdamOptions(1e-3));
  impl_->rows = (at::randn({batch, width}) * 0.01).requires_grad_();
  impl_->label = (at::rand({batch}) < 0.2).to(at::kFloat);
}

Ceiling::~Ceiling() = default;

float Ceiling::Step() {
  at::Tensor x = impl_->rows;
  for (size_t i = 0; i < impl_->layers.size(); ++i) {
    x = impl_->layers[i]->forward(x);
    if (i + 1 < impl_->layers.size()) x = at::relu(x);
  }
  const at::Tensor loss = at::binary_cross_entropy_with_logits(x.squeeze(1), impl_->label);
  loss.backward();
  impl_->adam->step();
  impl_->adam->zero_grad();
  impl_->rows.mutable_grad() = at::Tensor();
  return loss.item<float>();
}

}  // namespace emporium::bench
