// DIN (models.md M3) [CODE: FuxiCTR, DeepCTR]: target attention over the history,
//
//   r     = TargetAttention(t, h)                     models/layers/target_attention.h
//   logit = MLP([features; t; r])
#include <memory>
#include <utility>

#include "models/layers/target_attention.h"
#include "models/registry.h"
#include "models/zoo/sequence_model.h"

namespace emporium::models {

namespace {

class DinModel final : public SequenceModel {
 public:
  DinModel(SequenceInputs given, const spec::Mlp& attention, bool softmax, const spec::Mlp& mlp,
           Device& device)
      : SequenceModel(std::move(given), device) {
    const int64_t width = sequences().width;
    attention_ = TargetAttention(list(), "attention", width, attention, softmax);
    mlp_ = Mlp(list(), "mlp", inputs().width() + 2 * width, mlp, 1);
  }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const at::Tensor t = Targets(pass);
    const SharedHistories past = Shared(pass);
    const at::Tensor r = attention_.Forward(pass, t, Events(pass, past), past.lists);
    return mlp_.Forward(pass, WithPlain(pass, {t, r})).select(1, 0).contiguous();
  }

  TargetAttention attention_;
  Mlp mlp_;
};

}  // namespace

Result<std::unique_ptr<Model>> MakeDin(const spec::Job& job, Device& device) {
  const spec::Din& options = job.model().din();
  Complaints complaints;
  SequenceInputs inputs = ParseSequences(job, TaskCount::kOne, complaints);
  const spec::Mlp attention = MlpOr(options.attention(), options.has_attention(), {512, 256},
                                    "model.din.attention", complaints);
  const spec::Mlp mlp =
      MlpOr(options.mlp(), options.has_mlp(), {512, 256, 128}, "model.din.mlp", complaints);
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return std::unique_ptr<Model>(
      std::make_unique<DinModel>(std::move(inputs), attention, options.softmax(), mlp, device));
}

}  // namespace emporium::models
