#include "ps/optimizer.h"

#include <cmath>
#include <string>

namespace emporium::ps {
namespace {

// Collects the first thing that is wrong with an optimizer's numbers.
class Settings {
 public:
  explicit Settings(const char* optimizer) : optimizer_(optimizer) {}

  Settings& AtLeastZero(const char* field, float value) {
    return Require(value >= 0, field, "must be 0 or more");
  }
  Settings& Positive(const char* field, float value) {
    return Require(value > 0, field, "must be above 0");
  }
  Settings& BelowOne(const char* field, float value) {
    return Require(value >= 0 && value < 1, field, "must be at least 0 and below 1");
  }
  Settings& Finite(const char* field, float value) {
    return Require(std::isfinite(value), field, "must be a finite number");
  }
  const Status& status() const { return status_; }

 private:
  Settings& Require(bool holds, const char* field, const char* demand) {
    if (!holds && status_.ok()) {
      status_ = InvalidArgument("optimizer " + std::string(optimizer_) + ": " + field + " " +
                                demand + "; correct it in the job file");
    }
    return *this;
  }

  const char* optimizer_;
  Status status_;
};

Status Check(const spec::Optimizer::Sgd& o) {
  return Settings("sgd")
      .Finite("learning_rate", o.learning_rate())
      .AtLeastZero("learning_rate", o.learning_rate())
      .AtLeastZero("l2", o.l2())
      .status();
}

Status Check(const spec::Optimizer::Momentum& o) {
  return Settings("momentum")
      .Finite("learning_rate", o.learning_rate())
      .AtLeastZero("learning_rate", o.learning_rate())
      .BelowOne("momentum", o.momentum())
      .AtLeastZero("l2", o.l2())
      .status();
}

// Adagrad and row-wise Adagrad have the same settings.
template <class Spec>
Status CheckAdagrad(const char* name, const Spec& o) {
  return Settings(name)
      .Finite("learning_rate", o.learning_rate())
      .AtLeastZero("learning_rate", o.learning_rate())
      .AtLeastZero("initial_accumulator", o.initial_accumulator())
      .Positive("epsilon", o.epsilon())
      .AtLeastZero("l2", o.l2())
      .status();
}

// As Adam and AdamW do, but for `decay`.
template <class Spec>
Status CheckAdam(const char* name, const Spec& o, const char* decay_field, float decay) {
  return Settings(name)
      .Finite("learning_rate", o.learning_rate())
      .AtLeastZero("learning_rate", o.learning_rate())
      .BelowOne("beta1", o.beta1())
      .BelowOne("beta2", o.beta2())
      .Positive("epsilon", o.epsilon())
      .AtLeastZero(decay_field, decay)
      .status();
}

Status Check(const spec::Optimizer::Ftrl& o) {
  return Settings("ftrl")
      .Finite("alpha", o.alpha())
      .Positive("alpha", o.alpha())
      .AtLeastZero("beta", o.beta())
      .AtLeastZero("l1", o.l1())
      .AtLeastZero("l2", o.l2())
      .status();
}

}  // namespace

void Optimizer::Apply(std::span<float> weights, std::span<float> state,
                      std::span<const float> gradient, RowClock clock,
                      float learning_rate_factor) const {
  float* const row_weights = weights.data();
  float* const row_state = state.data();
  const float* const row_gradient = gradient.data();
  ApplyRows({1, static_cast<uint32_t>(weights.size()), &row_weights, &row_state, &row_gradient,
             &clock.updates, &clock.missed, learning_rate_factor});
}

Result<std::unique_ptr<Optimizer>> MakeOptimizer(const spec::Optimizer& spec) {
  if (!std::isfinite(spec.clip_norm()) || spec.clip_norm() < 0) {
    return InvalidArgument("optimizer: clip_norm must be 0 or more; correct it in the job file");
  }
  switch (spec.kind_case()) {
    case spec::Optimizer::kSgd:
      EMPORIUM_RETURN_IF_ERROR(Check(spec.sgd()));
      return MakeSgd(spec);
    case spec::Optimizer::kMomentum:
      EMPORIUM_RETURN_IF_ERROR(Check(spec.momentum()));
      return MakeMomentum(spec);
    case spec::Optimizer::kAdagrad:
      EMPORIUM_RETURN_IF_ERROR(CheckAdagrad("adagrad", spec.adagrad()));
      return MakeAdagrad(spec);
    case spec::Optimizer::kRowwiseAdagrad:
      EMPORIUM_RETURN_IF_ERROR(CheckAdagrad("rowwise_adagrad", spec.rowwise_adagrad()));
      return MakeRowwiseAdagrad(spec);
    case spec::Optimizer::kAdam:
      EMPORIUM_RETURN_IF_ERROR(CheckAdam("adam", spec.adam(), "l2", spec.adam().l2()));
      return MakeAdam(spec);
    case spec::Optimizer::kAdamw:
      EMPORIUM_RETURN_IF_ERROR(
          CheckAdam("adamw", spec.adamw(), "weight_decay", spec.adamw().weight_decay()));
      return MakeAdamW(spec);
    case spec::Optimizer::kFtrl:
      EMPORIUM_RETURN_IF_ERROR(Check(spec.ftrl()));
      return MakeFtrl(spec);
    case spec::Optimizer::KIND_NOT_SET:
      break;
  }
  return InvalidArgument(
      "optimizer: none is named; write one of sgd, momentum, adagrad, rowwise_adagrad, adam, "
      "adamw, ftrl");
}

}  // namespace emporium::ps
