#include "models/layers/global_attention.h"

#include <ATen/ops/amax.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "models/layers/event_padding.h"
#include "models/rows.h"
#include "proto/check.h"

namespace emporium::models {

namespace {

constexpr float kLargestScore = 8;
constexpr float kLargestWeight = 10;
constexpr float kNearest = 0.01f;  // a learned exponent starts at least so far from 0 and 1

at::Tensor Clip(const at::Tensor& s) { return at::clamp(s, -kLargestScore, kLargestScore); }

// At most `count` of the numbers below n, ascending, all equally likely.
std::vector<int32_t> Draw(int64_t n, int64_t count, Random& random) {
  std::vector<int32_t> numbers(static_cast<size_t>(n));
  std::iota(numbers.begin(), numbers.end(), 0);
  if (n <= count) return numbers;
  for (int64_t i = 0; i < count; ++i) {
    const auto left = static_cast<uint64_t>(n - i);
    std::swap(numbers[static_cast<size_t>(i)],
              numbers[static_cast<size_t>(i) + static_cast<size_t>(random.Next() % left)]);
  }
  numbers.resize(static_cast<size_t>(count));
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

at::Tensor FloatsOf(Pass& pass, const std::vector<float>& values) {
  const at::Tensor host = at::zeros({static_cast<int64_t>(values.size()), 1}, at::kFloat);
  std::copy(values.begin(), values.end(), host.data_ptr<float>());
  return pass.ToDevice(host);
}

}  // namespace

GlobalAttention::GlobalAttention(ParameterList& list, const std::string& name, const Shape& shape)
    : heads_(shape.options.heads()), width_(shape.options.width()), options_(shape.options) {
  const int64_t of_head = width_ / heads_;
  scale_ = 1 / std::sqrt(static_cast<double>(of_head));
  query_ = list.Add(name + ".query", {width_, shape.target}, Start::FanIn(shape.target));
  key_ = list.Add(name + ".key", {width_, shape.event}, Start::FanIn(shape.event));
  value_ = list.Add(name + ".value", {width_, shape.event}, Start::FanIn(shape.event));
  shift_ = list.Add(name + ".shift", {heads_}, Start::Constant(0));
  if (shape.gaps > 0) gap_ = list.Add(name + ".gap", {shape.gaps, heads_}, Start::Constant(0));
  if (options_.normalise() == spec::Nam::NONE) return;
  target_ = MakeSide(list, name + ".target", options_.alpha());
  event_ = MakeSide(list, name + ".event", options_.beta());
}

GlobalAttention::Side GlobalAttention::MakeSide(ParameterList& list, const std::string& name,
                                                float start) const {
  Side side;
  side.start = start;
  if (options_.learn_exponents()) {
    const float inside = std::clamp(start, kNearest, 1 - kNearest);
    side.exponent =
        list.Add(name + ".exponent", {1}, Start::Constant(std::log(inside / (1 - inside))));
  }
  if (options_.normalise() == spec::Nam::BATCH && side.used()) {
    side.mean = list.AddStatistic(name + ".log_z", {heads_}, 0);
  }
  return side;
}

at::Tensor GlobalAttention::BiasOf(Pass& pass, const Inputs& inputs) const {
  at::Tensor bias = at::zeros({inputs.events.size(0), heads_}, pass.options());
  if (inputs.action.defined()) bias = bias.add(inputs.action);
  if (gap_.exists()) bias = bias.add(TakeRows(pass, pass.dense(gap_), inputs.gap));
  return bias;
}

at::Tensor GlobalAttention::OwnScores(Pass& pass, const at::Tensor& x, const at::Tensor& k,
                                      const at::Tensor& bias,
                                      std::span<const int32_t> sample_of) const {
  const at::Tensor products = TakeRows(pass, x, sample_of).mul(k);
  return Clip(products.view({k.size(0), heads_, width_ / heads_}).sum(2).mul(scale_).add(bias));
}

at::Tensor GlobalAttention::AllScores(const at::Tensor& x, const at::Tensor& k,
                                      const at::Tensor& bias) const {
  const at::Tensor by_head = x.view({x.size(0), heads_, width_ / heads_}).permute({1, 0, 2});
  const at::Tensor keys = k.view({k.size(0), heads_, width_ / heads_}).permute({1, 2, 0});
  return Clip(at::bmm(by_head, keys).mul(scale_).add(bias.t().unsqueeze(1)));
}

GlobalAttention::Estimate GlobalAttention::OfTargets(Pass& pass, const at::Tensor& x,
                                                     const at::Tensor& k, const at::Tensor& bias,
                                                     std::span<const int32_t> sample_of) const {
  const std::vector<int32_t> drawn =
      Draw(k.size(0), int64_t{options_.sampled_events()}, pass.random());
  const auto events = static_cast<int64_t>(drawn.size());
  const int64_t samples = x.size(0);
  std::vector<int32_t> own(static_cast<size_t>(samples), 0);  // of each sample, among those drawn
  for (const int32_t event : drawn) ++own[static_cast<size_t>(sample_of[event])];
  Estimate estimate;
  const at::Tensor mask = at::zeros({samples, events}, at::kFloat);
  std::vector<float> log_count;
  for (int64_t b = 0; b < samples; ++b) {
    const int64_t others = events - own[static_cast<size_t>(b)];
    estimate.there.push_back(others > 0 ? 1 : 0);
    log_count.push_back(std::log(static_cast<float>(std::max<int64_t>(others, 1))));
  }
  for (int64_t m = 0; m < events; ++m) {
    const int32_t b = sample_of[drawn[static_cast<size_t>(m)]];
    if (estimate.there[static_cast<size_t>(b)] == 0) continue;  // finite, and nobody reads it
    mask.data_ptr<float>()[b * events + m] = -std::numeric_limits<float>::infinity();
  }
  const std::span<const int32_t> places = pass.Keep(drawn);
  const at::Tensor s = AllScores(x, TakeRows(pass, k, places), TakeRows(pass, bias, places));
  const at::Tensor sums = at::logsumexp(s.add(pass.ToDevice(mask)), 2);  // [heads, B]
  estimate.log_z = sums.t().sub(FloatsOf(pass, log_count));
  return estimate;
}

GlobalAttention::Estimate GlobalAttention::OfEvents(Pass& pass, const at::Tensor& x,
                                                    const at::Tensor& k,
                                                    const at::Tensor& bias) const {
  std::vector<int32_t> drawn = Draw(x.size(0), int64_t{options_.sampled_events()}, pass.random());
  const double log_count = std::log(static_cast<double>(drawn.size()));
  const at::Tensor targets = TakeRows(pass, x, pass.Keep(std::move(drawn)));
  const at::Tensor s = AllScores(targets, k, bias);
  Estimate estimate;
  estimate.log_z = at::logsumexp(s, 1).t().sub(log_count);
  estimate.there.assign(static_cast<size_t>(k.size(0)), 1);
  return estimate;
}

at::Tensor GlobalAttention::Normalisation(Pass& pass, const Side& side, const Estimate& estimate,
                                          const at::Tensor& known, int64_t n) const {
  if (!side.used()) return {};
  at::Tensor log_z = known;
  if (side.mean.exists()) log_z = pass.dense(side.mean).detach().unsqueeze(0).expand({n, heads_});
  EMPORIUM_CHECK(log_z.defined(), "who normalises by what is known gives it");
  if (estimate.log_z.defined()) {
    std::vector<float> share;
    const float mix = side.mean.exists() ? 1 : options_.mix();
    for (const uint8_t there : estimate.there) share.push_back(there != 0 ? mix : 0);
    const at::Tensor part = FloatsOf(pass, share);
    log_z = log_z.mul(part.neg().add(1)).add(estimate.log_z.mul(part));
  }
  if (side.mean.exists() && estimate.log_z.defined()) {
    const auto count = std::count(estimate.there.begin(), estimate.there.end(), 1);
    std::vector<float> there(estimate.there.begin(), estimate.there.end());
    const at::Tensor sum = estimate.log_z.detach().mul(FloatsOf(pass, there)).sum(0);
    if (count > 0) pass.Observe(side.mean, sum.div(static_cast<double>(count)));
  }
  if (!side.exponent.exists()) return log_z.mul(side.start);
  return log_z.mul(at::sigmoid(pass.dense(side.exponent)));
}

void GlobalAttention::Attend(Pass& pass, const Inputs& inputs, const at::Tensor& s,
                             const at::Tensor& v, Output* output) const {
  const EventPadding padding(pass, inputs.offset);
  at::Tensor score = s;  // s^
  at::Tensor weight;
  switch (options_.weight()) {
    case spec::Nam::SIGMOID:
      weight = at::sigmoid(s);
      break;
    case spec::Nam::CAPPED_EXP:
      weight = at::exp(s).clamp_max(kLargestWeight);
      break;
    case spec::Nam::SOFTMAX:
      score = padding.Unpad(at::log_softmax(padding.Pad(s).add(padding.mask()), 1));
      weight = at::exp(score);
      break;
  }
  const at::Tensor parts =
      v.view({v.size(0), heads_, width_ / heads_}).mul(weight.unsqueeze(2)).view(v.sizes());
  output->attended = PoolRows(pass, parts, inputs.offset, PoolKind::kSum);
  const at::Tensor sum = PoolRows(pass, weight, inputs.offset, PoolKind::kSum);
  const at::Tensor highest = at::amax(padding.Pad(score).add(padding.mask()), 1);
  output->strength = at::cat({sum, highest}, 1);
}

GlobalAttention::Output GlobalAttention::Forward(Pass& pass, const Inputs& inputs) const {
  const int64_t samples = inputs.target.size(0);
  const int64_t events = inputs.events.size(0);
  Output output;
  if (events == 0) {
    output.attended = at::zeros({samples, width_}, pass.options());
    output.strength = at::zeros({samples, 2 * heads_}, pass.options());
    return output;
  }
  const at::Tensor x = at::linear(inputs.target, pass.dense(query_));
  const at::Tensor k = at::linear(inputs.events, pass.dense(key_));
  const at::Tensor v = at::linear(inputs.events, pass.dense(value_));
  const at::Tensor bias = BiasOf(pass, inputs);
  const std::span<const int32_t> sample_of = SampleOfEvents(pass, inputs.offset);
  at::Tensor s = OwnScores(pass, x, k, bias, sample_of);
  const bool estimates = pass.training() && (options_.normalise() == spec::Nam::BATCH ||
                                             options_.normalise() == spec::Nam::RUNNING);
  if (estimates && target_.used()) output.target = OfTargets(pass, x, k, bias, sample_of);
  if (estimates && event_.used()) output.event = OfEvents(pass, x, k, bias);
  const at::Tensor of_target =
      Normalisation(pass, target_, output.target, inputs.known_target, samples);
  const at::Tensor of_event = Normalisation(pass, event_, output.event, inputs.known_event, events);
  if (of_target.defined()) {
    const at::Tensor each = of_target.expand({samples, heads_}).contiguous();
    s = s.sub(TakeRows(pass, each, sample_of));
  }
  if (of_event.defined()) s = s.sub(of_event);
  Attend(pass, inputs, s.add(pass.dense(shift_)), v, &output);
  return output;
}

}  // namespace emporium::models
