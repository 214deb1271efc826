#include "models/parameters.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/random.h"
#include "proto/check.h"

namespace emporium::models {

namespace {

void FillSinusoids(int64_t width, std::span<float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) / width;
    const int64_t column = static_cast<int64_t>(i) % width;
    const int64_t pair = column - column % 2;
    const double power = static_cast<double>(pair) / static_cast<double>(width);
    const double angle = static_cast<double>(row) * std::pow(10000.0, -power);
    values[i] = static_cast<float>(column % 2 == 0 ? std::sin(angle) : std::cos(angle));
  }
}

}  // namespace

Start Start::FanIn(int64_t fan_in) {
  return {Kind::kUniform, 1.0f / std::sqrt(static_cast<float>(fan_in))};
}

ParameterId ParameterList::Add(std::string name, std::vector<int64_t> shape, Start start,
                               bool train_only) {
  DenseParameter parameter;
  parameter.name = std::move(name);
  parameter.shape = std::move(shape);
  parameter.size = 1;
  for (int64_t extent : parameter.shape) parameter.size *= extent;
  parameter.train_only = train_only;
  EMPORIUM_CHECK(parameter.size > 0, "a parameter has at least one number");
  for (const DenseParameter& other : parameters_) {
    EMPORIUM_CHECK(other.name != parameter.name, "parameter names are unique");
  }
  const ParameterId id{static_cast<int32_t>(parameters_.size())};
  offsets_.push_back(total_);
  total_ += parameter.size;
  parameters_.push_back(std::move(parameter));
  starts_.push_back(start);
  return id;
}

ParameterId ParameterList::AddStatistic(std::string name, std::vector<int64_t> shape, float value) {
  const ParameterId id = Add(std::move(name), std::move(shape), Start::Constant(value));
  parameters_.back().statistic = true;
  return id;
}

void ParameterList::MarkTrainOnly(size_t first) {
  for (size_t i = first; i < parameters_.size(); ++i) parameters_[i].train_only = true;
}

void ParameterList::Initialize(uint64_t seed, std::span<float> values) const {
  EMPORIUM_CHECK(static_cast<int64_t>(values.size()) == total_, "one value per dense number");
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const DenseParameter& parameter = parameters_[i];
    auto part = values.subspan(offsets_[i], parameter.size);
    uint64_t stream = MixBits(seed) ^ HashName(parameter.name);
    for (int64_t extent : parameter.shape) {
      stream = MixBits(stream ^ static_cast<uint64_t>(extent));
    }
    Random random(stream);
    const float value = starts_[i].value;
    switch (starts_[i].kind) {
      case Start::Kind::kConstant:
        std::fill(part.begin(), part.end(), value);
        break;
      case Start::Kind::kUniform:
        for (float& x : part) x = value * (2 * random.Uniform() - 1);
        break;
      case Start::Kind::kNormal:
        for (float& x : part) x = value * random.Normal();
        break;
      case Start::Kind::kSinusoids:
        FillSinusoids(parameter.shape[1], part);
        break;
    }
  }
}

}  // namespace emporium::models
