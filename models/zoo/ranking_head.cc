#include "models/zoo/ranking_head.h"

#include <ATen/ops/linear.h>

#include <cmath>
#include <utility>

#include "models/rows.h"
#include "models/zoo/retrieval.h"
#include "proto/check.h"

namespace emporium::models {

namespace {

const FieldColumn& FieldOf(const Batch& batch, const std::string& feature) {
  for (const FieldColumn& field : batch.fields) {
    if (field.feature == feature) return field;
  }
  EMPORIUM_CHECK(false, "a ranking batch has the context features");
  std::abort();  // unreachable: the check does not return
}

}  // namespace

RankingHead::RankingHead(ParameterList& list, const TwoTowerOptions& options)
    : features_(options.context),
      variant_b_(options.spec.context().variant() == spec::ContextTower::B) {
  const float a = std::log(options.spec.initial_scale());
  for (const std::string name : {"ranking.point", "ranking.pair"}) {
    if (name == "ranking.pair" && !options.pair_head) continue;
    Head head;
    head.scale = list.Add(name + ".scale", {1}, Start::Constant(a), /*train_only=*/true);
    head.shift = list.Add(name + ".shift", {1}, Start::Constant(options.spec.initial_shift()),
                          /*train_only=*/true);
    heads_.push_back(head);
  }
  if (features_.empty()) return;
  int64_t width = 0;
  for (const auto& feature : features_) width += feature.dim;
  const int64_t hidden = options.spec.context().hidden();
  const auto outputs = static_cast<int64_t>(heads_.size()) * (variant_b_ ? 1 : 2);
  hidden_ = Linear(list, "context.hidden", width, hidden, Linear::From::kFanIn, true);
  out_ = Linear(list, "context.out", hidden, outputs, Linear::From::kZero, true);
  if (variant_b_) {
    taste_ = list.Add("context.taste", {options.width, width}, Start::Constant(0), true);
  }
}

RankingHead::Context RankingHead::SeeContext(Pass& pass, const at::Tensor& item_vectors,
                                             std::span<const int32_t> rows) const {
  Context context;
  if (features_.empty()) return context;
  std::vector<RowPart> parts;
  int32_t width = 0;
  for (const auto& feature : features_) {
    const FieldColumn& field = FieldOf(pass.batch(), feature.feature);
    parts.push_back(TablePart(pass, field.rows, feature.pool, feature.dim));
    parts.back().column = width;
    width += feature.dim;
  }
  const at::Tensor k = AssembleRows(pass, pass.batch().samples, width, std::move(parts));
  const at::Tensor shifts = out_.Forward(pass, hidden_.Forward(pass, k).relu_());
  context.shifts = TakeRows(pass, shifts, rows);
  if (variant_b_) {
    const at::Tensor taste = at::linear(k, pass.dense(taste_));  // [B, width of v]
    context.taste = TakeRows(pass, taste, rows).mul(item_vectors).sum(1);
  }
  return context;
}

at::Tensor RankingHead::Apply(const Pass& pass, size_t head, const at::Tensor& similarity,
                              const Context& context) const {
  const at::Tensor& a = pass.dense(heads_[head].scale);
  const at::Tensor& b = pass.dense(heads_[head].shift);
  if (!context.shifts.defined()) return ScaleOf(a).mul(similarity).add(b);
  const auto column = static_cast<int64_t>(head);
  if (variant_b_) {
    return ScaleOf(a)
        .mul(similarity)
        .add(b)
        .add(context.shifts.select(1, column))
        .add(context.taste);
  }
  const at::Tensor da = context.shifts.select(1, 2 * column);
  const at::Tensor db = context.shifts.select(1, 2 * column + 1);
  return ScaleOf(a.add(da)).mul(similarity).add(b).add(db);
}

RankingHead::Logits RankingHead::Forward(Pass& pass, const at::Tensor& similarity,
                                         const at::Tensor& item_vectors,
                                         std::span<const int32_t> rows, bool pair) const {
  const Context context = SeeContext(pass, item_vectors, rows);
  Logits logits;
  logits.point = Apply(pass, 0, similarity, context);
  if (pair) logits.pair = Apply(pass, 1, similarity, context);
  return logits;
}

}  // namespace emporium::models
