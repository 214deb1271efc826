// The two-tower model (models.md M13): item and user vectors whose scaled inner product, plus a
// learned popularity part, is the logit. Equations stand in zoo/towers.h and zoo/ranking_head.h.
//
// Stage losses: sampled softmax over shared candidates (pre-training) and pointwise plus pairwise
// or listwise losses over groups of labelled candidates (fine-tuning).
#include <ATen/core/grad_mode.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "models/losses.h"
#include "models/registry.h"
#include "models/rows.h"
#include "models/zoo/ranking_head.h"
#include "models/zoo/retrieval.h"
#include "models/zoo/towers.h"
#include "models/zoo/two_tower_options.h"

namespace emporium::models {

namespace {

std::span<float> SpanOf(const at::Tensor& tensor) {
  return {tensor.data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}
std::span<const float> ConstSpanOf(const at::Tensor& tensor) { return SpanOf(tensor); }

class TwoTowerModel final : public Model {
 public:
  TwoTowerModel(TwoTowerOptions options, Device& device)
      : options_(std::move(options)), device_(device), item_tower_(list_, options_) {
    if (options_.age_pooling()) {
      age_pooling_.emplace(list_, options_);
    } else {
      transformer_.emplace(list_, options_);
    }
    scale_ = list_.Add("scale", {1}, Start::Constant(std::log(options_.spec.initial_scale())));
    if (options_.counters > 0) {
      beta_ =
          list_.Add("popularity.beta", {options_.counters}, Start::Constant(options_.initial_beta));
    }
    if (options_.ranking) ranking_head_ = RankingHead(list_, options_);
  }

  const std::vector<DenseParameter>& parameters() const override { return list_.parameters(); }
  const Needs& needs() const override { return options_.needs; }
  void Initialize(uint64_t seed, std::span<float> values) const override {
    list_.Initialize(seed, values);
  }

  Result<std::vector<LossTerm>> Train(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                                      const spec::Train& train, uint64_t random_seed) override {
    Pass pass(device_, list_, batch, rows, dense, random_seed);
    return train.has_ranking() ? TrainRanking(pass, train.ranking())
                               : TrainSoftmax(pass, train.sampled_softmax());
  }

  Status Score(const Batch&, const RowSet&, const DenseSet&, std::span<float>) override {
    return InvalidArgument("a two-tower model gives vectors, not scores of samples");
  }

  Status ItemVectors(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                     std::span<const float> log_counts, std::span<float> vectors) override;
  Status UserVectors(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                     std::span<float> vectors) override;
  Status PopularityLogits(const DenseSet& dense, std::span<const float> log_counts,
                          std::span<float> logits) override;

 private:
  struct Vectors {
    at::Tensor user;       // [B, width], unit length if cosine
    at::Tensor candidate;  // [C, width], likewise
  };

  at::Tensor Normal(const at::Tensor& x) const { return options_.cosine ? NormalizeRows(x) : x; }
  at::Tensor User(Pass& pass, const at::Tensor& e) const {
    if (transformer_) return Normal(transformer_->Forward(pass, e));
    return Normal(age_pooling_->Forward(pass, item_tower_.Forward(pass, e)));
  }
  Vectors Compute(Pass& pass) const;
  Result<std::vector<LossTerm>> TrainSoftmax(Pass& pass, const spec::SampledSoftmax& spec) const;
  Result<std::vector<LossTerm>> TrainRanking(Pass& pass, const spec::RankingLoss& spec) const;

  TwoTowerOptions options_;
  Device& device_;
  ParameterList list_;
  ItemTower item_tower_;
  std::optional<TransformerTower> transformer_;
  std::optional<AgePoolingTower> age_pooling_;
  ParameterId scale_;
  ParameterId beta_;
  RankingHead ranking_head_;
};

TwoTowerModel::Vectors TwoTowerModel::Compute(Pass& pass) const {
  const std::vector<int32_t>& candidates = pass.batch().candidates.item;
  const at::Tensor e = item_tower_.Embed(pass);
  if (age_pooling_) {
    // The history needs the vectors of all items: compute each once.
    const at::Tensor v = item_tower_.Forward(pass, e);
    return {Normal(age_pooling_->Forward(pass, v)), Normal(TakeRows(pass, v, candidates))};
  }
  const at::Tensor v = item_tower_.Forward(pass, TakeRows(pass, e, candidates));
  return {Normal(transformer_->Forward(pass, e)), Normal(v)};
}

Result<std::vector<LossTerm>> TwoTowerModel::TrainSoftmax(Pass& pass,
                                                          const spec::SampledSoftmax& spec) const {
  const Batch& batch = pass.batch();
  const Vectors vectors = Compute(pass);
  const at::Tensor scaled = vectors.user.mul(ScaleOf(pass.dense(scale_)));
  at::Tensor logits = at::mm(scaled, vectors.candidate.t());
  if (options_.counters > 0) {
    logits = logits.add(
        WeighCountersBy(pass, pass.dense(beta_), batch.candidates.log_counts, {}, logits.numel())
            .view(logits.sizes()));
  }
  return TrainSampledSoftmax(pass, logits, spec);
}

Result<std::vector<LossTerm>> TwoTowerModel::TrainRanking(Pass& pass,
                                                          const spec::RankingLoss& spec) const {
  const Batch& batch = pass.batch();
  const CandidateColumns& candidates = batch.candidates;
  const Vectors vectors = Compute(pass);
  std::vector<int32_t> rows;
  std::vector<int32_t> cells;  // row of log_counts
  std::vector<float> weights;
  for (int32_t b = 0; b < batch.samples; ++b) {
    for (int32_t g = candidates.group_offset[b]; g < candidates.group_offset[b + 1]; ++g) {
      rows.push_back(b);
      cells.push_back(b * static_cast<int32_t>(candidates.item.size()) + candidates.group[g]);
      if (!batch.weight.empty()) weights.push_back(batch.weight[b]);
    }
  }
  const auto kept_rows = pass.Keep(std::move(rows));
  const at::Tensor v = TakeRows(pass, vectors.candidate, candidates.group);
  at::Tensor similarity = TakeRows(pass, vectors.user, kept_rows).mul(v).sum(1);
  if (options_.counters > 0 && !cells.empty()) {
    const auto kept_cells = pass.Keep(std::move(cells));
    const at::Tensor popularity =
        WeighCountersBy(pass, pass.dense(beta_), candidates.log_counts, kept_cells,
                        static_cast<int64_t>(kept_cells.size()));
    similarity = similarity.add(popularity.div(ScaleOf(pass.dense(scale_))));
  }
  const bool pair = spec.form() == spec::RankingLoss::PAIR;
  const RankingHead::Logits logits = ranking_head_.Forward(pass, similarity, v, kept_rows, pair);

  const at::Tensor point = pass.ToHost(logits.point);
  const at::Tensor point_gradient = at::zeros_like(point);
  const double bce_weight = spec.bce_weight();
  const LossValue bce = BinaryCrossEntropy(ConstSpanOf(point), candidates.group_label, weights,
                                           bce_weight, SpanOf(point_gradient));
  const Groups groups = {candidates.group_offset, candidates.group_label, batch.weight};
  std::vector<at::Tensor> roots = {logits.point};
  at::Tensor pair_gradient;
  LossTerm ranked;
  LossValue rank;
  if (pair) {
    roots.push_back(logits.pair);
    const at::Tensor pair_logits = pass.ToHost(logits.pair);
    pair_gradient = at::zeros_like(pair_logits);
    rank = PairRatio(ConstSpanOf(pair_logits), groups, 1, SpanOf(pair_gradient));
    ranked.name = "pair";
  } else if (spec.form() == spec::RankingLoss::LIST) {
    rank = ListRatio(ConstSpanOf(point), groups, 1, SpanOf(point_gradient));
    ranked.name = "list";
  } else {
    rank = PairLogistic(ConstSpanOf(point), groups, 1, SpanOf(point_gradient));
    ranked.name = "pairwise";
  }
  ranked.value = rank.value;
  ranked.samples = rank.samples;
  EMPORIUM_RETURN_IF_ERROR(CheckFinite("bce", bce.value));
  EMPORIUM_RETURN_IF_ERROR(CheckFinite(ranked.name, rank.value));
  std::vector<at::Tensor> gradients = {pass.ToDevice(point_gradient)};
  if (pair) gradients.push_back(pass.ToDevice(pair_gradient));
  pass.Backward(roots, gradients);
  return std::vector<LossTerm>{{"loss", bce_weight * bce.value + rank.value, bce.samples},
                               {"bce", bce.value, bce.samples},
                               ranked};
}

Status TwoTowerModel::ItemVectors(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                                  std::span<const float> log_counts, std::span<float> vectors) {
  at::NoGradGuard no_grad;
  Pass pass(device_, list_, batch, rows, dense, std::nullopt);
  const int64_t items = batch.items.count;
  const int64_t width = options_.needs.vector_width;
  if (static_cast<int64_t>(vectors.size()) != items * width ||
      static_cast<int64_t>(log_counts.size()) != items * options_.counters) {
    return InvalidArgument("item vectors: the buffers do not fit " + std::to_string(items) +
                           " items of width " + std::to_string(width));
  }
  const at::Tensor v =
      pass.ToHost(Normal(item_tower_.Forward(pass, item_tower_.Embed(pass))).contiguous());
  std::vector<float> popularity(static_cast<size_t>(items));
  if (options_.counters > 0) {
    EMPORIUM_RETURN_IF_ERROR(PopularityLogits(dense, log_counts, popularity));
  }
  const float* source = v.data_ptr<float>();
  for (int64_t i = 0; i < items; ++i) {
    float* out = vectors.data() + i * width;
    std::memcpy(out, source + i * options_.width, sizeof(float) * options_.width);
    if (options_.counters > 0) out[options_.width] = popularity[i];
  }
  return Status::Ok();
}

Status TwoTowerModel::UserVectors(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                                  std::span<float> vectors) {
  at::NoGradGuard no_grad;
  Pass pass(device_, list_, batch, rows, dense, std::nullopt);
  const int64_t width = options_.needs.vector_width;
  if (static_cast<int64_t>(vectors.size()) != batch.samples * width) {
    return InvalidArgument("user vectors: the buffer does not fit " +
                           std::to_string(batch.samples) + " users of width " +
                           std::to_string(width));
  }
  const at::Tensor u = pass.ToHost(
      User(pass, item_tower_.Embed(pass)).mul(ScaleOf(pass.dense(scale_))).contiguous());
  const float* source = u.data_ptr<float>();
  for (int64_t b = 0; b < batch.samples; ++b) {
    float* out = vectors.data() + b * width;
    std::memcpy(out, source + b * options_.width, sizeof(float) * options_.width);
    if (options_.counters > 0) out[options_.width] = 1;
  }
  return Status::Ok();
}

Status TwoTowerModel::PopularityLogits(const DenseSet& dense, std::span<const float> log_counts,
                                       std::span<float> logits) {
  const auto counters = static_cast<size_t>(options_.counters);
  if (counters == 0 || log_counts.size() != logits.size() * counters) {
    return InvalidArgument("popularity logits: the buffers do not fit " + std::to_string(counters) +
                           " counters");
  }
  const auto at = static_cast<size_t>(list_.offset(static_cast<size_t>(beta_.index)));
  WeighCounters(log_counts.data(), {}, static_cast<int64_t>(logits.size()),
                dense.values.subspan(at, counters), logits.data());
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<Model>> MakeTwoTower(const spec::Job& job, Device& device) {
  EMPORIUM_ASSIGN_OR_RETURN(TwoTowerOptions options, ParseTwoTower(job));
  return std::unique_ptr<Model>(std::make_unique<TwoTowerModel>(std::move(options), device));
}

}  // namespace emporium::models
