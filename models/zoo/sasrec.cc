// SASRec [CODE: S3-Rec's for the blocks; attributes, similarity and relative bias OURS]: item
// vectors e, a causal transformer over those of the history, and their similarity as the logit.
//
//   e_i   = id row + attribute_weight * pooled rows of its attributes                     [I, d]
//   x_j   = dropout(LN(e_item(j) + position_j)), position counted from the oldest event
//   u_j   = CausalEncoder(x)_j                    the user just after event j; no events: zeros
//   logit = scale * similarity(u_j, e_i)          COSINE or DOT
//
// Training takes the softmax for the last event of a history, or (every_position) for every event
// that the batch names.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "models/layers/causal_encoder.h"
#include "models/layers/layers.h"
#include "models/registry.h"
#include "models/rows.h"
#include "models/zoo/retrieval.h"
#include "proto/check.h"

namespace emporium::models {

namespace {

const std::string kField = "model.sasrec";
constexpr float kPositionStddev = 0.02f;

struct SasRecOptions {
  spec::SasRec spec;
  ItemRows rows;
  int32_t max_length = 0;  // of a history
  Needs needs;

  bool cosine() const { return spec.similarity() == spec::COSINE; }
};

class SasRecModel final : public Model {
 public:
  SasRecModel(SasRecOptions options, Device& device)
      : options_(std::move(options)), device_(device) {
    const spec::SasRec& spec = options_.spec;
    const int64_t width = options_.rows.dim;
    if (spec.positions()) {
      position_ =
          list_.Add("position", {options_.max_length, width}, Start::Normal(kPositionStddev));
    }
    norm_ = LayerNorm(list_, "norm", width);
    encoder_ = CausalEncoder(list_, "encoder",
                             {spec.layers(), spec.heads(), width, spec.feed_forward(),
                              options_.max_length, spec.relative_bias(), spec.dropout()});
    if (spec.learn_scale()) {
      scale_ = list_.Add("scale", {1}, Start::Constant(std::log(spec.initial_scale())));
    }
  }

  const std::vector<DenseParameter>& parameters() const override { return list_.parameters(); }
  const Needs& needs() const override { return options_.needs; }
  void Initialize(uint64_t seed, std::span<float> values) const override {
    list_.Initialize(seed, values);
  }

  Result<std::vector<LossTerm>> Train(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                                      const spec::Train& train, uint64_t random_seed) override {
    Pass pass(device_, list_, batch, rows, dense, random_seed);
    const at::Tensor e = EmbedItems(pass, options_.rows);
    const at::Tensor v = Normal(TakeRows(pass, e, batch.candidates.item));
    const at::Tensor u = Users(pass, e, batch.candidates.event);
    return TrainSampledSoftmax(pass, at::mm(u, v.t()), train.sampled_softmax());
  }

  Status Score(const Batch&, const RowSet&, const DenseSet&, std::span<float>) override {
    return InvalidArgument("a sasrec model gives vectors, not scores of samples");
  }
  Status PopularityLogits(const DenseSet&, std::span<const float>, std::span<float>) override {
    return InvalidArgument("a sasrec model has no popularity part");
  }

  Status ItemVectors(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                     std::span<const float>, std::span<float> vectors) override {
    at::NoGradGuard no_grad;
    Pass pass(device_, list_, batch, rows, dense, std::nullopt);
    return Give(pass, Normal(EmbedItems(pass, options_.rows)), vectors);
  }
  Status UserVectors(const Batch& batch, const RowSet& rows, const DenseSet& dense,
                     std::span<float> vectors) override {
    at::NoGradGuard no_grad;
    Pass pass(device_, list_, batch, rows, dense, std::nullopt);
    return Give(pass, Users(pass, EmbedItems(pass, options_.rows), {}), vectors);
  }

 private:
  at::Tensor Normal(const at::Tensor& x) const { return options_.cosine() ? NormalizeRows(x) : x; }
  // u of every event of the batch's histories, [P, d], from e [I, d].
  at::Tensor States(Pass& pass, const at::Tensor& e) const;
  // Scaled and, if cosine, normalised user vectors: [R, d], as of the given events or, without
  // any, as of each sample's last one.
  at::Tensor Users(Pass& pass, const at::Tensor& e, std::span<const int32_t> events) const;
  Status Give(const Pass& pass, const at::Tensor& x, std::span<float> vectors) const;

  const SasRecOptions options_;
  Device& device_;
  ParameterList list_;
  ParameterId position_;
  LayerNorm norm_;
  CausalEncoder encoder_;
  ParameterId scale_;
};

at::Tensor SasRecModel::States(Pass& pass, const at::Tensor& e) const {
  const HistoryColumns& history = pass.batch().history;
  if (history.item.empty()) return at::empty({0, options_.rows.dim}, pass.options());
  std::vector<int32_t> position;
  for (size_t b = 0; b + 1 < history.offset.size(); ++b) {
    const int32_t length = history.offset[b + 1] - history.offset[b];
    EMPORIUM_CHECK(length <= options_.max_length, "a history is at most as long as the job says");
    for (int32_t j = 0; j < length; ++j) position.push_back(j);
  }
  std::vector<RowPart> parts(position_.exists() ? 2 : 1);
  parts[0].source = e;
  parts[0].lists = ListsOf(history.item);
  if (position_.exists()) {
    parts[1].source = pass.dense(position_);
    parts[1].lists = ListsOf(pass.Keep(std::move(position)));
  }
  const auto events = static_cast<int64_t>(history.item.size());
  const at::Tensor read = AssembleRows(pass, events, options_.rows.dim, std::move(parts));
  const at::Tensor x = pass.Dropout(norm_.Forward(pass, read), options_.spec.embedding_dropout());
  return encoder_.Forward(pass, x, history.offset);
}

at::Tensor SasRecModel::Users(Pass& pass, const at::Tensor& e,
                              std::span<const int32_t> events) const {
  const HistoryColumns& history = pass.batch().history;
  if (events.empty()) {
    std::vector<int32_t> last;
    for (int32_t b = 0; b < pass.batch().samples; ++b) {
      const bool any = history.offset[b + 1] > history.offset[b];
      last.push_back(any ? history.offset[b + 1] - 1 : -1);
    }
    events = pass.Keep(std::move(last));
  }
  const at::Tensor u = Normal(TakeRows(pass, States(pass, e), events));
  return scale_.exists() ? u.mul(ScaleOf(pass.dense(scale_)))
                         : u.mul(static_cast<double>(options_.spec.initial_scale()));
}

Status SasRecModel::Give(const Pass& pass, const at::Tensor& x, std::span<float> vectors) const {
  const at::Tensor values = pass.ToHost(x.contiguous());
  if (static_cast<int64_t>(vectors.size()) != values.numel()) {
    return InvalidArgument("vectors: the buffer does not fit " + std::to_string(values.size(0)) +
                           " vectors of width " + std::to_string(values.size(1)));
  }
  std::copy_n(values.data_ptr<float>(), vectors.size(), vectors.data());
  return Status::Ok();
}

void ParseFeatures(const spec::Job& job, SasRecOptions& options, Complaints& complaints) {
  constexpr spec::FeatureSource kItemSources[] = {spec::ITEM, spec::ROW};
  constexpr spec::FeatureSource kAttributeSources[] = {spec::ITEM};
  const auto item = FindTableFeature(job, kField + ".item_feature", options.spec.item_feature(),
                                     kItemSources, complaints);
  if (item) options.rows.dim = item->dim();
  options.rows.weight = options.spec.attribute_weight();
  if (!std::isfinite(options.rows.weight)) {
    complaints.Add(kField + ".attribute_weight", "is not a finite number; give one such as 1");
  }
  if (!options.spec.has_attribute_feature()) return;
  const auto attribute =
      FindAddedFeature(job, kField + ".attribute_feature", options.spec.attribute_feature(),
                       kAttributeSources, options.rows.dim, complaints);
  options.rows.words = true;
  if (attribute) options.rows.pool = PoolKindOf(attribute->feature->pooling());
}

void ParseShape(const SasRecOptions& options, Complaints& complaints) {
  const spec::SasRec& spec = options.spec;
  const auto width = static_cast<uint32_t>(options.rows.dim);
  if (spec.layers() == 0) complaints.Add(kField + ".layers", "there is none; give at least 1");
  if (spec.heads() == 0 || width % spec.heads() != 0) {
    complaints.Add(kField + ".heads", std::to_string(spec.heads()) +
                                          " heads do not divide the item table's dim " +
                                          std::to_string(width) + "; give a divisor");
  }
  if (spec.feed_forward() == 0) {
    complaints.Add(kField + ".feed_forward", "it is 0; give at least 1");
  }
  CheckRate(kField + ".dropout", spec.dropout(), complaints);
  CheckRate(kField + ".embedding_dropout", spec.embedding_dropout(), complaints);
  CheckScale(kField + ".initial_scale", spec.initial_scale(), complaints);
  if (options.max_length == 0) {
    complaints.Add("data.history.max_length", "it is 0; give at least 1");
  }
}

Result<SasRecOptions> ParseSasRec(const spec::Job& job) {
  Complaints complaints;
  SasRecOptions options;
  options.spec = job.model().sasrec();
  options.max_length = static_cast<int32_t>(job.data().history().max_length());
  ParseFeatures(job, options, complaints);
  ParseShape(options, complaints);
  for (const spec::Stage& stage : job.stage()) {
    if (!stage.has_train() || stage.train().has_sampled_softmax()) continue;
    complaints.Add("stage '" + stage.name() + "'",
                   "a sasrec model trains with sampled_softmax; set it");
  }
  FindPopularityTable(job, options.spec.item_feature(), &options.needs, complaints);
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  options.needs.history = true;
  options.needs.candidates = true;
  options.needs.vector_width = options.rows.dim;
  return options;
}

}  // namespace

Result<std::unique_ptr<Model>> MakeSasRec(const spec::Job& job, Device& device) {
  EMPORIUM_ASSIGN_OR_RETURN(SasRecOptions options, ParseSasRec(job));
  return std::unique_ptr<Model>(std::make_unique<SasRecModel>(std::move(options), device));
}

}  // namespace emporium::models
