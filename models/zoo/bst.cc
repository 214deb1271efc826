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
    const Elements elements = ElementsOf(pass, /*with_target=*/true);
    const at::Tensor x = ElementRows(pass, elements, true, positions_, position_width_);
    const at::Tensor out = Output(pass, elements, x);
    return mlp_.Forward(pass, WithPlain(pass, {out})).select(1, 0).contiguous();
  }

  at::Tensor Output(Pass& pass, const Elements& elements, const at::Tensor& x) const {
    if (output_ == spec::Bst::TARGET) {
      return encoder_.Forward(pass, x, elements.lengths, elements.length);
    }
    const at::Tensor all = encoder_.ForwardAll(pass, x, elements.lengths, elements.length);
    const int64_t samples = pass.batch().samples;
    std::vector<int32_t> place;  // of the elements that are read
    std::vector<int32_t> offset{0};
    const bool flat = output_ == spec::Bst::FLATTEN;
    for (int64_t b = 0; b < samples; ++b) {
      for (int32_t k = 0; k < elements.lengths[b]; ++k) {
        place.push_back(static_cast<int32_t>(b * elements.length + k));
      }
      if (flat) place.resize(static_cast<size_t>((b + 1) * places_), -1);
      offset.push_back(static_cast<int32_t>(place.size()));
    }
    const at::Tensor read = TakeRows(pass, all, pass.Keep(std::move(place)));
    if (flat) return read.view({samples, places_ * width_});
    return PoolRows(pass, read, pass.Keep(std::move(offset)),
                    output_ == spec::Bst::MEAN ? PoolKind::kMean : PoolKind::kSum);
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
    Elements elements = ElementsOf(pass, /*with_target=*/false);
    const at::Tensor x = Placed(pass, elements, false);
    // A sample without events attends to a row of zeros, and nobody reads what comes of it.
    for (int32_t& length : elements.lengths) length = std::max(length, 1);
    const at::Tensor all = encoder_.ForwardAll(pass, x, elements.lengths, elements.length);
    const at::Tensor h = TakeRows(pass, all, elements.event);
    const std::span<const int32_t> offset = EventOffsets(pass);
    const at::Tensor r = attention_.Forward(pass, t, h, offset);
    const at::Tensor s = with_target_ ? Summary(pass) : PoolRows(pass, h, offset, PoolKind::kMean);
    return mlp_.Forward(pass, WithPlain(pass, {t, r, s})).select(1, 0).contiguous();
  }

  // The rows of the elements with their position vectors added. An event has the same position
  // whether the target stands before it or not.
  at::Tensor Placed(Pass& pass, const Elements& elements, bool with_target) const {
    at::Tensor rows = ElementRows(pass, elements, with_target, {}, 0);
    if (!positions_.exists()) return rows;
    std::vector<int32_t> position(elements.position.begin(), elements.position.end());
    for (int32_t& place : position) place += place >= 0 && !with_target ? 1 : 0;
    return rows.add(TakeRows(pass, pass.dense(positions_), pass.Keep(std::move(position))));
  }

  at::Tensor Summary(Pass& pass) const {
    const Elements elements = ElementsOf(pass, /*with_target=*/true);
    return summary_.Forward(pass, Placed(pass, elements, true), elements.lengths, elements.length);
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
