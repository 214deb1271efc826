// The factor on every optimizer's learning rate at a step: a function of the stage's settings, the
// step and the stage's number of steps alone. Pure; any thread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "proto/ids.h"
#include "proto/job.pb.h"

namespace emporium::worker {

// Step t of a warm-up over W steps has (t + 1) / W of the factor that follows. After it the
// schedule runs from 1 at step W to final_factor at the stage's last step.
inline float LearningRateFactor(const spec::LearningRate& rate, Step step, uint64_t stage_steps) {
  const double t = static_cast<double>(step.value());
  const double warm_up = static_cast<double>(rate.warm_up_steps());
  const double base = rate.base_factor();
  if (t < warm_up) return static_cast<float>(base * (t + 1) / warm_up);
  const double last = static_cast<double>(stage_steps) - 1;
  const double progress = last > warm_up ? std::min(1.0, (t - warm_up) / (last - warm_up)) : 1.0;
  const double final_factor = rate.final_factor();
  double factor = 1;
  switch (rate.schedule()) {
    case spec::LearningRate::CONSTANT:
      break;
    case spec::LearningRate::LINEAR:
      factor = 1 + (final_factor - 1) * progress;
      break;
    case spec::LearningRate::COSINE:
      factor = final_factor + (1 - final_factor) * (1 + std::cos(std::numbers::pi * progress)) / 2;
      break;
  }
  return static_cast<float>(base * factor);
}

}  // namespace emporium::worker
