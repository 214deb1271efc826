#include "models/zoo/towers.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <span>
#include <utility>

#include "models/rows.h"
#include "models/zoo/history_plan.h"
#include "models/zoo/retrieval.h"
#include "proto/check.h"

namespace emporium::models {

namespace {

constexpr float kVectorStddev = 0.02f;

// What a table's rows add at the listed places.
RowPart PlacedPart(const Pass& pass, TableId table, Lists lists) {
  RowPart part;
  part.table = &pass.table(table);
  part.lists = lists;
  return part;
}

RowPart SourcePart(at::Tensor source, std::span<const int32_t> index) {
  RowPart part;
  part.source = std::move(source);
  part.lists = ListsOf(index);
  return part;
}

}  // namespace

ItemTower::ItemTower(ParameterList& list, const TwoTowerOptions& options) : options_(options) {
  if (!options.residual()) return;
  const spec::ItemTower::Residual& residual = options.spec.item_tower().residual();
  const int64_t inner = static_cast<int64_t>(residual.multiple()) * options.dim;
  in_ = Linear(list, "item_tower.in", options.dim, inner);
  for (uint32_t i = 0; i < residual.blocks(); ++i) {
    const std::string name = "item_tower.block" + std::to_string(i);
    Block block;
    block.linear = Linear(list, name + ".linear", inner, inner);
    block.norm = LayerNorm(list, name + ".norm", inner);
    blocks_.push_back(block);
  }
  out_ = Linear(list, "item_tower.out", inner, options.width);
}

at::Tensor ItemTower::Embed(Pass& pass) const {
  return EmbedItems(
      pass, {options_.dim, options_.title, options_.title_pool, options_.spec.title_weight()});
}

at::Tensor ItemTower::Forward(Pass& pass, const at::Tensor& e) const {
  if (!options_.residual()) return e;
  at::Tensor x = in_.Forward(pass, e);
  for (const Block& block : blocks_) {
    x = block.norm.Forward(pass, x.add(block.linear.Forward(pass, x).relu_()));
  }
  return out_.Forward(pass, x);
}

struct TransformerTower::Slots {
  std::span<const int32_t> offset;  // sample b has the positions offset[b] .. offset[b + 1]
  std::span<const int32_t> cls, item, query, query_begin, query_end, action, position, gap;
};

TransformerTower::TransformerTower(ParameterList& list, const TwoTowerOptions& options)
    : options_(options) {
  const spec::Transformer& t = options.spec.user_tower().transformer();
  gap_edges_.assign(t.gap_edges_days().begin(), t.gap_edges_days().end());
  const Start start = Start::Normal(kVectorStddev);
  cls_ = list.Add("user_tower.cls", {1, options.dim}, start);
  if (options.query) query_ = list.Add("user_tower.query", {1, options.dim}, start);
  if (t.positions()) {
    position_ = list.Add("user_tower.position", {options.max_length, options.dim}, start);
  }
  if (!gap_edges_.empty()) {
    const auto buckets = static_cast<int64_t>(gap_edges_.size()) + 1;
    gap_ = list.Add("user_tower.gap", {buckets, options.dim}, start);
  }
  in_ = Linear(list, "user_tower.in", options.dim, options.width);
  encoder_ = Encoder(list, "user_tower",
                     {t.layers(), t.heads(), t.width(), t.feed_forward(), t.dropout()});
}

TransformerTower::Slots TransformerTower::FillSlots(Pass& pass) const {
  const HistoryColumns& history = pass.batch().history;
  const int32_t samples = pass.batch().samples;
  const HistoryPlan plan = PlanHistory(history, samples, /*items_only=*/false,
                                       options_.spec.user_tower().history_dropout(),
                                       pass.training() ? &pass.random() : nullptr);
  Slots slots;
  const size_t n = plan.event.size() + static_cast<size_t>(samples);
  std::vector<int32_t> offset{0};
  std::vector<int32_t> cls(n, -1), item(n, -1), query(n, -1), query_begin(n, 0), query_end(n, 0);
  std::vector<int32_t> action(n, -1), position(n, -1), gap(n, -1);
  const bool has_words = !history.query.index.empty();
  const bool has_action = !history.action.index.empty();
  for (int32_t b = 0; b < samples; ++b) {
    auto at = static_cast<size_t>(offset.back());
    cls[at++] = 0;
    offset.push_back(offset.back() + plan.length(b) + 1);
    const int32_t newest = history.offset[b + 1] - 1;
    EMPORIUM_CHECK(newest - history.offset[b] < options_.max_length,
                   "a history is at most as long as the job says");
    for (int32_t k = plan.offset[b]; k < plan.offset[b + 1]; ++k, ++at) {
      const int32_t event = plan.event[k];
      item[at] = history.item[event];
      position[at] = newest - event;
      gap[at] = BucketOf(history.age_days[event], gap_edges_);
      if (has_action) action[at] = history.action.index[event];
      if (history.item[event] >= 0) continue;
      query[at] = 0;
      if (!has_words) continue;
      query_begin[at] = history.query.offset[event];
      query_end[at] = history.query.offset[event + 1];
    }
  }
  slots.offset = pass.Keep(std::move(offset));
  slots.cls = pass.Keep(std::move(cls));
  slots.item = pass.Keep(std::move(item));
  slots.query = pass.Keep(std::move(query));
  slots.query_begin = pass.Keep(std::move(query_begin));
  slots.query_end = pass.Keep(std::move(query_end));
  slots.action = pass.Keep(std::move(action));
  slots.position = pass.Keep(std::move(position));
  slots.gap = pass.Keep(std::move(gap));
  return slots;
}

at::Tensor TransformerTower::Forward(Pass& pass, const at::Tensor& e) const {
  const HistoryColumns& history = pass.batch().history;
  const Slots slots = FillSlots(pass);
  std::vector<RowPart> parts = {SourcePart(pass.dense(cls_), slots.cls), SourcePart(e, slots.item)};
  if (options_.action && !history.action.index.empty()) {
    parts.push_back(PlacedPart(pass, history.action.table, ListsOf(slots.action)));
  }
  if (position_.exists()) parts.push_back(SourcePart(pass.dense(position_), slots.position));
  if (gap_.exists()) parts.push_back(SourcePart(pass.dense(gap_), slots.gap));
  if (options_.query) {
    parts.push_back(SourcePart(pass.dense(query_), slots.query));
    if (!history.query.index.empty()) {
      const Lists words = {history.query.index.data(), slots.query_begin.data(),
                           slots.query_end.data(), options_.query_pool};
      parts.push_back(PlacedPart(pass, history.query.table, words));
    }
  }
  const int64_t positions = slots.offset.back();
  const at::Tensor events = AssembleRows(pass, positions, options_.dim, std::move(parts));
  const float rate = options_.spec.user_tower().transformer().dropout();
  const at::Tensor x = pass.Dropout(in_.Forward(pass, events), rate);
  const at::Tensor u = encoder_.Forward(pass, x, slots.offset);
  return pass.Dropout(u, options_.spec.user_tower().user_dropout());
}

AgePoolingTower::AgePoolingTower(ParameterList& list, const TwoTowerOptions& options)
    : options_(options) {
  const spec::AgePooling& pooling = options.spec.user_tower().age_pooling();
  age_edges_.assign(pooling.age_edges_days().begin(), pooling.age_edges_days().end());
  const auto buckets = static_cast<int64_t>(age_edges_.size()) + 1;
  by_age_ = list.Add("user_tower.age", {buckets}, Start::Constant(0));
  by_count_ = list.Add("user_tower.count", {pooling.max_count() + 1}, Start::Constant(0));
}

at::Tensor AgePoolingTower::Forward(Pass& pass, const at::Tensor& v) const {
  const HistoryColumns& history = pass.batch().history;
  HistoryPlan plan = PlanHistory(history, pass.batch().samples, /*items_only=*/true,
                                 options_.spec.user_tower().history_dropout(),
                                 pass.training() ? &pass.random() : nullptr);
  const auto max_count = static_cast<int32_t>(options_.spec.user_tower().age_pooling().max_count());
  std::vector<PoolEvent> events;
  events.reserve(plan.event.size());
  for (int32_t event : plan.event) {
    const int32_t count = history.count.empty() ? 1 : history.count[event];
    events.push_back({history.item[event], BucketOf(history.age_days[event], age_edges_),
                      std::min(count, max_count)});
  }
  const at::Tensor u = AgePoolRows(pass, v, pass.dense(by_age_), pass.dense(by_count_),
                                   std::move(events), pass.Keep(std::move(plan.offset)));
  return pass.Dropout(u, options_.spec.user_tower().user_dropout());
}

}  // namespace emporium::models
