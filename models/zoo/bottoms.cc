#include "models/zoo/bottoms.h"

#include <optional>
#include <utility>

#include "models/layers/moe.h"

namespace emporium::models {

namespace {

class SharedMlp final : public Bottom {
 public:
  SharedMlp(ParameterList& list, int64_t in, const spec::Mlp& options, size_t heads)
      : heads_(heads), mlp_(list, "bottom", in, options, 0) {}
  int64_t width() const override { return mlp_.width(); }
  std::vector<at::Tensor> Forward(Pass& pass, const at::Tensor& x) const override {
    return std::vector<at::Tensor>(heads_, mlp_.Forward(pass, x));
  }

 private:
  const size_t heads_;
  Mlp mlp_;
};

class Mixture final : public Bottom {
 public:
  Mixture(ParameterList& list, int64_t in, const spec::Mmoe& options,
          const std::vector<std::string>& heads)
      : experts_(list, "expert", in, options.expert(), options.experts()) {
    for (const std::string& head : heads) {
      gates_.emplace_back(list, head + ".gate", in, options.gate(), options.experts());
    }
  }
  int64_t width() const override { return experts_.width(); }
  std::vector<at::Tensor> Forward(Pass& pass, const at::Tensor& x) const override {
    std::vector<at::Tensor> experts;
    experts_.Forward(pass, x, &experts);
    std::vector<at::Tensor> mixed;
    for (const Gate& gate : gates_) mixed.push_back(gate.Forward(pass, x, experts));
    return mixed;
  }

 private:
  Experts experts_;
  std::vector<Gate> gates_;
};

class Extraction final : public Bottom {
 public:
  Extraction(ParameterList& list, int64_t in, const spec::Ple& options,
             const std::vector<std::string>& heads)
      : shared_sees_all_(options.shared_gate_sees_all()) {
    const auto own = static_cast<int64_t>(options.task_experts());
    const auto shared = static_cast<int64_t>(options.shared_experts());
    for (uint32_t l = 0; l < options.layers(); ++l) {
      const std::string name = "layer" + std::to_string(l) + ".";
      Layer layer;
      for (const std::string& head : heads) {
        layer.own.emplace_back(list, name + head + ".expert", in, options.expert(), own);
        layer.gates.emplace_back(list, name + head + ".gate", in, options.gate(), own + shared);
      }
      layer.shared = Experts(list, name + "shared.expert", in, options.expert(), shared);
      if (l + 1 < options.layers()) {
        const int64_t seen =
            shared_sees_all_ ? own * static_cast<int64_t>(heads.size()) + shared : shared;
        layer.shared_gate.emplace(list, name + "shared.gate", in, options.gate(), seen);
      }
      in = layer.shared.width();
      layers_.push_back(std::move(layer));
    }
  }
  int64_t width() const override { return layers_.back().shared.width(); }

  std::vector<at::Tensor> Forward(Pass& pass, const at::Tensor& x) const override {
    std::vector<at::Tensor> y(layers_.front().own.size(), x);
    at::Tensor common = x;
    for (const Layer& layer : layers_) {
      std::vector<at::Tensor> shared;
      layer.shared.Forward(pass, common, &shared);
      std::vector<at::Tensor> all;  // head by head, then the shared ones
      std::vector<at::Tensor> next;
      for (size_t k = 0; k < y.size(); ++k) {
        std::vector<at::Tensor> seen;
        layer.own[k].Forward(pass, y[k], &seen);
        all.insert(all.end(), seen.begin(), seen.end());
        seen.insert(seen.end(), shared.begin(), shared.end());
        next.push_back(layer.gates[k].Forward(pass, y[k], seen));
      }
      all.insert(all.end(), shared.begin(), shared.end());
      if (layer.shared_gate) {
        common = layer.shared_gate->Forward(pass, common, shared_sees_all_ ? all : shared);
      }
      y = std::move(next);
    }
    return y;
  }

 private:
  struct Layer {
    std::vector<Experts> own;  // by head
    Experts shared;
    std::vector<Gate> gates;  // by head
    std::optional<Gate> shared_gate;
  };
  const bool shared_sees_all_;
  std::vector<Layer> layers_;
};

template <class Options>
void FillDefaults(const PointwiseInputs& inputs, Options* options, Complaints& complaints) {
  *options->mutable_expert() = MlpOr(options->expert(), options->has_expert(), {512, 256, 128},
                                     inputs.path("expert"), complaints);
  *options->mutable_gate() =
      MlpOr(options->gate(), options->has_gate(), {128, 64}, inputs.path("gate"), complaints);
  *options->mutable_tower() =
      MlpOr(options->tower(), options->has_tower(), {128, 64}, inputs.path("tower"), complaints);
}

// Complains of an MLP without hidden layers.
void ExpectHidden(const PointwiseInputs& inputs, const char* option, const spec::Mlp& mlp,
                  Complaints& complaints) {
  if (mlp.hidden_size() > 0) return;
  complaints.Add(inputs.path(option) + ".hidden", "there is no hidden layer; give widths");
}

void ExpectCount(const PointwiseInputs& inputs, const char* option, uint32_t count,
                 Complaints& complaints) {
  if (count >= 1 && count <= 1024) return;
  complaints.Add(inputs.path(option), std::to_string(count) + " is outside 1 to 1024");
}

// A bottom of type T with these options.
template <class T, class Options>
BottomPlan PlanOf(const Options& options, const std::vector<std::string>& heads) {
  return {[options, heads](ParameterList& list, int64_t width) {
            return std::make_unique<T>(list, width, options, heads);
          },
          options.tower(), options.gate()};
}

}  // namespace

BottomPlan PlanSharedMlp(const PointwiseInputs& inputs, const spec::SharedBottom& given,
                         const std::vector<std::string>& heads, Complaints& complaints) {
  const spec::Mlp bottom =
      MlpOr(given.bottom(), given.has_bottom(), {512, 256, 128}, inputs.path("bottom"), complaints);
  ExpectHidden(inputs, "bottom", bottom, complaints);
  const spec::Mlp tower =
      MlpOr(given.tower(), given.has_tower(), {128, 64}, inputs.path("tower"), complaints);
  return {[bottom, count = heads.size()](ParameterList& list, int64_t width) {
            return std::make_unique<SharedMlp>(list, width, bottom, count);
          },
          tower, spec::Mlp()};
}

BottomPlan PlanMixture(const PointwiseInputs& inputs, const spec::Mmoe& given,
                       const std::vector<std::string>& heads, Complaints& complaints) {
  spec::Mmoe options = given;
  FillDefaults(inputs, &options, complaints);
  ExpectHidden(inputs, "expert", options.expert(), complaints);
  ExpectCount(inputs, "experts", options.experts(), complaints);
  return PlanOf<Mixture>(options, heads);
}

BottomPlan PlanExtraction(const PointwiseInputs& inputs, const spec::Ple& given,
                          const std::vector<std::string>& heads, Complaints& complaints) {
  spec::Ple options = given;
  FillDefaults(inputs, &options, complaints);
  ExpectHidden(inputs, "expert", options.expert(), complaints);
  ExpectCount(inputs, "layers", options.layers(), complaints);
  ExpectCount(inputs, "task_experts", options.task_experts(), complaints);
  ExpectCount(inputs, "shared_experts", options.shared_experts(), complaints);
  return PlanOf<Extraction>(options, heads);
}

}  // namespace emporium::models
