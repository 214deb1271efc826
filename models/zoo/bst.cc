// Transformers over the history: bst (models.md M4) [CODE: FuxiCTR] and bst_din (M5) [OURS].
//
//   bst       X = [t; h_n; ...; h_1], each with its position vector appended
//             out = one of Encoder(X): the target's, mean, sum, all
//             logit = MLP([features; out])
//   bst_din   H = Encoder([h_n; ...; h_1] + positions),  r = TargetAttention(t, H)
//             s = mean of H, or the target's vector out of another encoder over [t; h_n; ...; h_1]
//             logit = MLP([features; t; r; s])
//
// Attention knows no order but by the position vectors; they are counted from the target back, so
// the target is always the first element.
#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "models/layers/target_attention.h"
#include "models/layers/transformer.h"
#include "models/registry.h"
#include "models/zoo/sequence_model.h"

namespace emporium::models {

namespace {

class BstModel final : public SequenceModel {
 public:
  BstModel(SequenceInputs given, const spec::Bst& options, const EncoderShape& shape,
           const spec::Mlp& mlp, Device& device)
      : SequenceModel(std::move(given), device),
        output_(options.output()),
        places_(sequences().longest + 1),
        width_(shape.width),
        position_width_(shape.width - sequences().width) {
    if (position_width_ > 0) {
      positions_ = list().Add("position", {places_, position_width_}, Start::Sinusoids());
    }
    encoder_ = Encoder(list(), "encoder", shape);
    const int64_t out = output_ == spec::Bst::FLATTEN ? places_ * width_ : width_;
    mlp_ = Mlp(list(), "mlp", inputs().width() + out, mlp, 1);
  }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const SharedHistories past = Shared(pass);
    const at::Tensor x =
        ElementRows(pass, past, /*with_targets=*/true, positions_, position_width_);
    const at::Tensor out = Output(pass, ElementsOf(pass, past), x);
    return mlp_.Forward(pass, WithPlain(pass, {out})).select(1, 0).contiguous();
  }

  at::Tensor Output(Pass& pass, const Elements& elements, const at::Tensor& x) const {
    const std::span<const int32_t> offset = elements.offset;
    if (output_ == spec::Bst::TARGET) return encoder_.Forward(pass, x, offset, elements.row);
    const at::Tensor all = encoder_.ForwardAll(pass, x, offset, elements.row);
    if (output_ != spec::Bst::FLATTEN) {
      return PoolRows(pass, all, offset,
                      output_ == spec::Bst::MEAN ? PoolKind::kMean : PoolKind::kSum);
    }
    const int64_t samples = pass.batch().samples;
    std::vector<int32_t> element(static_cast<size_t>(samples * places_), -1);
    for (int64_t b = 0; b < samples; ++b) {
      const auto first = element.begin() + b * places_;
      std::iota(first, first + offset[b + 1] - offset[b], offset[b]);
    }
    return TakeRows(pass, all, pass.Keep(std::move(element))).view({samples, places_ * width_});
  }

  const spec::Bst::Output output_;
  const int64_t places_;
  const int64_t width_;  // of an element
  const int64_t position_width_;
  ParameterId positions_;
  Encoder encoder_;
  Mlp mlp_;
};

class BstDinModel final : public SequenceModel {
 public:
  struct Shape {
    EncoderShape encoder;
    spec::Mlp attention;
    spec::Mlp mlp;
  };
  BstDinModel(SequenceInputs given, const spec::BstDin& options, const Shape& shape, Device& device)
      : SequenceModel(std::move(given), device),
        with_target_(options.summary() == spec::BstDin::TARGET) {
    const int64_t width = sequences().width;
    if (options.positions()) {
      positions_ = list().Add("position", {sequences().longest + 1, width}, Start::Sinusoids());
    }
    encoder_ = Encoder(list(), "encoder", shape.encoder);
    if (with_target_) summary_ = Encoder(list(), "summary", shape.encoder);
    attention_ = TargetAttention(list(), "attention", width, shape.attention, options.softmax());
    mlp_ = Mlp(list(), "mlp", inputs().width() + 3 * width, shape.mlp, 1);
  }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const at::Tensor t = Targets(pass);
    const SharedHistories past = Shared(pass);
    const at::Tensor x = Placed(pass, past, /*with_targets=*/false);
    const at::Tensor h =
        x.size(0) == 0 ? x : encoder_.ForwardAll(pass, x, past.lists.offset);  // newest first
    const at::Tensor r = attention_.Forward(pass, t, h, past.lists);
    const at::Tensor s = with_target_ ? OfTargets(pass, past) : MeanOf(pass, h, past.lists);
    return mlp_.Forward(pass, WithPlain(pass, {t, r, s})).select(1, 0).contiguous();
  }

  // The element rows with their position vectors added.
  at::Tensor Placed(Pass& pass, const SharedHistories& past, bool with_targets) const {
    at::Tensor rows = ElementRows(pass, past, with_targets, {}, 0);
    if (!positions_.exists()) return rows;
    return rows.add(TakeRows(pass, pass.dense(positions_), PositionsOf(pass, past, with_targets)));
  }

  at::Tensor OfTargets(Pass& pass, const SharedHistories& past) const {
    const Elements elements = ElementsOf(pass, past);
    const at::Tensor x = Placed(pass, past, /*with_targets=*/true);
    return summary_.Forward(pass, x, elements.offset, elements.row);
  }

  static at::Tensor MeanOf(Pass& pass, const at::Tensor& h, const Histories& lists) {
    const at::Tensor mean = PoolRows(pass, h, lists.offset, PoolKind::kMean);
    return lists.of.empty() ? mean : TakeRows(pass, mean, lists.of);
  }

  const bool with_target_;
  ParameterId positions_;
  Encoder encoder_;
  Encoder summary_;
  TargetAttention attention_;
  Mlp mlp_;
};

}  // namespace

Result<std::unique_ptr<Model>> MakeBst(const spec::Job& job, Device& device) {
  const spec::Bst& options = job.model().bst();
  Complaints complaints;
  SequenceInputs inputs = ParseSequences(job, TaskCount::kOne, complaints);
  const int64_t positions =
      options.has_position_width() ? int64_t{options.position_width()} : inputs.width;
  const EncoderShape shape =
      ParseEncoder(options.encoder(), inputs.width + positions, "model.bst.encoder", complaints);
  spec::Mlp mlp =
      MlpOr(options.mlp(), options.has_mlp(), {1024, 512, 256}, "model.bst.mlp", complaints);
  if (!options.has_mlp()) mlp.set_activation(spec::Mlp::LEAKY_RELU);
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return std::unique_ptr<Model>(
      std::make_unique<BstModel>(std::move(inputs), options, shape, mlp, device));
}

Result<std::unique_ptr<Model>> MakeBstDin(const spec::Job& job, Device& device) {
  const spec::BstDin& options = job.model().bst_din();
  Complaints complaints;
  SequenceInputs inputs = ParseSequences(job, TaskCount::kOne, complaints);
  BstDinModel::Shape shape;
  shape.encoder =
      ParseEncoder(options.encoder(), inputs.width, "model.bst_din.encoder", complaints);
  shape.attention = MlpOr(options.attention(), options.has_attention(), {512, 256},
                          "model.bst_din.attention", complaints);
  shape.mlp =
      MlpOr(options.mlp(), options.has_mlp(), {512, 256, 128}, "model.bst_din.mlp", complaints);
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return std::unique_ptr<Model>(
      std::make_unique<BstDinModel>(std::move(inputs), options, shape, device));
}

}  // namespace emporium::models
