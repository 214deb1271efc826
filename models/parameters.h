// The list of a model's dense parameters: names, shapes, initial values. Built once by the model's
// constructor, constant afterwards.
//
// Invariants: names are unique; parameter i occupies [offset(i), offset(i) + size) of the flat
// buffer, without gaps, in the order in which parameters were added.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/model.h"

namespace emporium::models {

// How a parameter starts. The random kinds draw from (seed, name, shape).
struct Start {
  enum class Kind : uint8_t { kConstant, kUniform, kNormal, kSinusoids };
  Kind kind = Kind::kConstant;
  float value = 0;  // the constant, the bound of U(-value, value), the standard deviation

  static Start Constant(float value) { return {Kind::kConstant, value}; }
  static Start Normal(float stddev) { return {Kind::kNormal, stddev}; }
  // Row i of a matrix [n, d]: sin(i f_k) at 2k and cos(i f_k) at 2k + 1, f_k = 10000^(-2k/d).
  static Start Sinusoids() { return {Kind::kSinusoids, 0}; }
  // As torch.nn.Linear starts its weight and bias: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
  static Start FanIn(int64_t fan_in);
};

// Position of a parameter in its list.
struct ParameterId {
  int32_t index = -1;
  bool exists() const { return index >= 0; }
};

class ParameterList {
 public:
  ParameterId Add(std::string name, std::vector<int64_t> shape, Start start,
                  bool train_only = false);
  // What Pass::Observe or ObserveSum is told of, starting at `value`.
  ParameterId AddStatistic(std::string name, std::vector<int64_t> shape, float value);

  // All parameters from the first-th on are train_only.
  void MarkTrainOnly(size_t first);

  const std::vector<DenseParameter>& parameters() const { return parameters_; }
  int64_t offset(size_t i) const { return offsets_[i]; }
  int64_t total() const { return total_; }
  void Initialize(uint64_t seed, std::span<float> values) const;

 private:
  std::vector<DenseParameter> parameters_;
  std::vector<Start> starts_;
  std::vector<int64_t> offsets_;
  int64_t total_ = 0;
};

}  // namespace emporium::models
