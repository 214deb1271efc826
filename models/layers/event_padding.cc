#include "models/layers/event_padding.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "models/rows.h"

namespace emporium::models {

EventPadding::EventPadding(Pass& pass, std::span<const int32_t> offset)
    : pass_(pass), samples_(static_cast<int64_t>(offset.size()) - 1) {
  for (int64_t b = 0; b < samples_; ++b) {
    longest_ = std::max<int64_t>(longest_, offset[b + 1] - offset[b]);
  }
  std::vector<int32_t> event(static_cast<size_t>(samples_ * longest_), -1);
  std::vector<int32_t> place;
  at::Tensor mask = at::zeros({samples_, longest_, 1}, at::kFloat);
  for (int64_t b = 0; b < samples_; ++b) {
    const int64_t length = offset[b + 1] - offset[b];
    for (int64_t j = 0; j < length; ++j) {
      place.push_back(static_cast<int32_t>(b * longest_ + j));
      event[static_cast<size_t>(place.back())] = offset[b] + static_cast<int32_t>(j);
    }
    std::fill_n(mask.data_ptr<float>() + b * longest_ + length, length == 0 ? 0 : longest_ - length,
                -std::numeric_limits<float>::infinity());
  }
  event_ = pass.Keep(std::move(event));
  place_ = pass.Keep(std::move(place));
  mask_ = pass.ToDevice(mask);
}

at::Tensor EventPadding::Pad(const at::Tensor& events) const {
  return TakeRows(pass_, events, event_).view({samples_, longest_, events.size(1)});
}

at::Tensor EventPadding::Unpad(const at::Tensor& padded) const {
  return TakeRows(pass_, padded.reshape({samples_ * longest_, -1}), place_);
}

std::span<const int32_t> SampleOfEvents(Pass& pass, std::span<const int32_t> offset) {
  std::vector<int32_t> sample_of;
  sample_of.reserve(static_cast<size_t>(offset.back()));
  for (size_t b = 0; b + 1 < offset.size(); ++b) {
    sample_of.insert(sample_of.end(), static_cast<size_t>(offset[b + 1] - offset[b]),
                     static_cast<int32_t>(b));
  }
  return pass.Keep(std::move(sample_of));
}

}  // namespace emporium::models
