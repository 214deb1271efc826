// Attention whose weights are normalised by how often a target and an event meet anything at all
// (models.md M10) [OURS]. Per head, with x of a target and k, v of an event:
//
//   x = W_q target,  k_j = W_k h_j,  v_j = W_v h_j
//   s_j  = <x, k_j> / sqrt(d_k) + action_j + gap_j                      clipped to [-8, 8]
//   s^_j = s_j - alpha logZ_t - beta logZ_j + b_0
//   w_j  = sigma(s^_j) | min(exp(s^_j), 10) | softmax_j(s^_j)
//   attended = sum_j w_j v_j,  strength = [sum_j w_j; max_j s^_j]
//
// With the softmax, s^ is what is left after it: s^_j - log sum_i exp(s^_i), the log of w_j. A
// sample without events gets zeros.
//
// logZ_t = log E[exp s_tj] over all events, logZ_j the same over all targets. Estimates of a
// micro-batch: over at most `sampled_events` events of other samples, drawn once for all targets;
// over at most as many of its targets. `spec::Nam::Normalise` says what of them is used:
//
//   NONE       0
//   FREQUENCY  what the caller knows: log(1 + popularity)
//   BATCH      the estimate; when scoring, or where there is none, its running mean over targets
//              (events), a statistic of the layer
//   RUNNING    (1 - mix) of what the caller knows, a number without gradient, and mix of the
//              estimate; when scoring, or where there is none, what the caller knows
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/parameters.h"
#include "models/pass.h"
#include "proto/job.pb.h"

namespace emporium::models {

class GlobalAttention {
 public:
  struct Shape {
    int64_t target = 0;  // numbers of a target, the query's among them
    int64_t event = 0;
    int64_t gaps = 0;  // buckets of the time since an event; 0: not used
    spec::Nam options;
  };
  // Of a batch of B targets and E events.
  struct Inputs {
    at::Tensor target;                // [B, target]
    at::Tensor events;                // [E, event]
    std::span<const int32_t> offset;  // sample b has the events offset[b] .. offset[b + 1]
    at::Tensor action;                // [E, heads], or undefined
    std::span<const int32_t> gap;     // [E] buckets, or empty
    // FREQUENCY, RUNNING: what is known of logZ, [n, heads] or [n, 1]; undefined where the exponent
    // is 0 and stays so.
    at::Tensor known_target;
    at::Tensor known_event;
  };
  // Of one side, targets or events, while training: [n, heads] and whether there is one.
  struct Estimate {
    at::Tensor log_z;  // undefined: none
    std::vector<uint8_t> there;
  };
  struct Output {
    at::Tensor attended;  // [B, width]
    at::Tensor strength;  // [B, 2 heads]
    Estimate target;
    Estimate event;
  };

  GlobalAttention() = default;
  GlobalAttention(ParameterList& list, const std::string& name, const Shape& shape);

  Output Forward(Pass& pass, const Inputs& inputs) const;

 private:
  // Exponent and running mean of one side.
  struct Side {
    float start = 0;
    ParameterId exponent;  // where it is learned, before sigma
    ParameterId mean;      // BATCH
    bool used() const { return start != 0 || exponent.exists(); }
  };
  Side MakeSide(ParameterList& list, const std::string& name, float start) const;
  // s of the events [n, heads] that gradients of a target's estimate go through, without <x, k>.
  at::Tensor BiasOf(Pass& pass, const Inputs& inputs) const;
  at::Tensor OwnScores(Pass& pass, const at::Tensor& x, const at::Tensor& k, const at::Tensor& bias,
                       std::span<const int32_t> sample_of) const;
  // [heads, targets, events]
  at::Tensor AllScores(const at::Tensor& x, const at::Tensor& k, const at::Tensor& bias) const;
  Estimate OfTargets(Pass& pass, const at::Tensor& x, const at::Tensor& k, const at::Tensor& bias,
                     std::span<const int32_t> sample_of) const;
  Estimate OfEvents(Pass& pass, const at::Tensor& x, const at::Tensor& k,
                    const at::Tensor& bias) const;
  // exponent * logZ [n, heads] of a side, or undefined.
  at::Tensor Normalisation(Pass& pass, const Side& side, const Estimate& estimate,
                           const at::Tensor& known, int64_t n) const;
  void Attend(Pass& pass, const Inputs& inputs, const at::Tensor& s, const at::Tensor& v,
              Output* output) const;

  int64_t heads_ = 1;
  int64_t width_ = 0;
  double scale_ = 1;  // of <x, k>
  spec::Nam options_;
  ParameterId query_, key_, value_, shift_, gap_;
  Side target_, event_;
};

}  // namespace emporium::models
