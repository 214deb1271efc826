// NAM-style search model (models.md M10) [OURS]: names and goals are those of a published model
// whose equations are not; it is not to be called a reproduction.
//
//   t = rows of the targets, q = rows of the query's features, h_j = rows of event j
//   [h_u; aux] = GlobalAttention([t; q], h)              models/layers/global_attention.h
//   h_0  = MLP_0([t; q])                                 what is known without a history
//   iif  = log((N + 1) / (n + 1)) / log(N + 1)           rarity of the first pair's target, 0 to 1
//   g    = sigmoid(softplus(a) iif + MLP_g([bucket(iif); q; stop(t)]))
//   p    = g [h_u; W aux] + (1 - g) h_0                  gate OPEN: g = 1, and there is no h_0
//   z_k  = MLP_k([features; t; q; p; iif])               a tower for each task
//
// strict_monotone: MLP_g([q]), or a number where there is no query. n and N are the popularity of
// the row and of its table; iif enters where the table keeps it.
//
// The slots that hold logZ (normalise: RUNNING) are those of the first pair's table, one a head. In
// training each sample estimates logZ of its target and each event that of its own item; an item's
// estimates in a micro-batch become the log of their mean, summed in the order of samples.
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "models/layers/global_attention.h"
#include "models/layers/mlp.h"
#include "models/registry.h"
#include "models/zoo/history_plan.h"
#include "models/zoo/nam_options.h"
#include "proto/check.h"
#include "proto/exact_math.h"
#include "proto/model_options.h"

namespace emporium::models {

namespace {

constexpr int64_t kRarityBuckets = 10;

// How much of the history counts for a target of this rarity.
class RarityGate {
 public:
  RarityGate() = default;
  RarityGate(ParameterList& list, const NamInputs& given, int64_t channels)
      : strict_(given.options.strict_monotone()), query_(given.query_width > 0) {
    slope_ = list.Add("gate.rarity", {1}, Start::Constant(0));
    const int64_t beside = strict_ ? 0 : kRarityBuckets + given.sequences.width;
    const int64_t out = given.options.gate() == spec::Nam::CHANNELS ? channels : 1;
    if (beside + given.query_width == 0) {
      level_ = list.Add("gate.level", {out}, Start::Constant(0));
    } else {
      mlp_ = Mlp(list, "gate", beside + given.query_width, given.options.gate_mlp(), out);
    }
  }

  // rarity [B, 1]; [B, 1] or [B, channels].
  at::Tensor Forward(Pass& pass, const at::Tensor& rarity, const at::Tensor& buckets,
                     const at::Tensor& q, const at::Tensor& t) const {
    const at::Tensor by_rarity = rarity.mul(at::softplus(pass.dense(slope_)));
    if (level_.exists()) return at::sigmoid(by_rarity.add(pass.dense(level_)));
    std::vector<at::Tensor> parts;
    if (!strict_) parts.push_back(buckets);
    if (query_) parts.push_back(q);
    if (!strict_) parts.push_back(t.detach());
    return at::sigmoid(by_rarity.add(mlp_.Forward(pass, at::cat(parts, 1))));
  }

 private:
  bool strict_ = false;
  bool query_ = false;
  ParameterId slope_, level_;
  Mlp mlp_;
};

class NamModel final : public SequenceModel {
 public:
  NamModel(const spec::Job& job, NamInputs given, Device& device)
      : SequenceModel(given.sequences, device), given_(std::move(given)) {
    const spec::Nam& options = given_.options;
    const int64_t target = sequences().width + given_.query_width;
    const int gaps = options.gap_edges_days_size();
    attention_ = GlobalAttention(list(), "attention",
                                 {target, sequences().width, gaps > 0 ? gaps + 1 : 0, options});
    const auto heads = static_cast<int64_t>(options.heads());
    const int64_t channels = options.width() + 2 * heads;
    strength_ = list().Add("strength", {2 * heads, 2 * heads}, Start::FanIn(2 * heads));
    if (options.gate() != spec::Nam::OPEN) {
      gate_ = RarityGate(list(), given_, channels);
      fallback_ = Mlp(list(), "fallback", target, options.fallback(), channels);
    }
    for (const Task& task : inputs().tasks) {
      const std::string name = task.name.empty() ? "tower" : task.name + ".tower";
      towers_.emplace_back(list(), name,
                           inputs().width() + target + channels + (given_.counted ? 1 : 0),
                           options.tower(), 1);
    }
    if (given_.counted) {
      needs_to_set().popularity_tables.push_back(*FindTable(job, PopularityTable(job)));
    }
  }

 private:
  at::Tensor Logits(Pass& pass) const override {
    const at::Tensor t = Targets(pass);
    const at::Tensor q = Query(pass);
    const at::Tensor tq = q.defined() ? at::cat({t, q}, 1) : t;
    at::Tensor rarity, buckets;
    if (given_.counted) std::tie(rarity, buckets) = Rarity(pass);
    const at::Tensor p = Personal(pass, t, q, tq, rarity, buckets);
    std::vector<at::Tensor> parts = {tq, p};
    if (given_.counted) parts.push_back(rarity);
    const at::Tensor x = WithPlain(pass, std::move(parts));
    std::vector<at::Tensor> logits;
    for (const Mlp& tower : towers_) logits.push_back(tower.Forward(pass, x).select(1, 0));
    return at::cat(logits);
  }

  at::Tensor Personal(Pass& pass, const at::Tensor& t, const at::Tensor& q, const at::Tensor& tq,
                      const at::Tensor& rarity, const at::Tensor& buckets) const {
    GlobalAttention::Inputs in;
    in.target = tq;
    in.events = Events(pass);
    in.offset = EventOffsets(pass);
    in.action = Actions(pass);
    in.gap = Gaps(pass);
    in.known_target = Known(pass, TargetRows(pass, 0), given_.target_slot);
    in.known_event = Known(pass, HistoryRows(pass, 0), given_.event_slot);
    const GlobalAttention::Output out = attention_.Forward(pass, in);
    Report(pass, TargetRows(pass, 0), out.target, given_.target_slot);
    Report(pass, HistoryRows(pass, 0), out.event, given_.event_slot);
    at::Tensor u = at::cat({out.attended, at::linear(out.strength, pass.dense(strength_))}, 1);
    if (!fallback_.exists()) return u;
    const at::Tensor g = gate_.Forward(pass, rarity, buckets, q, t);
    const at::Tensor base = fallback_.Forward(pass, tq);
    return base.add(g.mul(u.sub(base)));
  }

  // [B, query_width]; undefined without query.
  at::Tensor Query(Pass& pass) const {
    if (given_.query.empty()) return {};
    std::vector<RowPart> parts;
    for (size_t i = 0; i < given_.query.size(); ++i) {
      const NamInputs::Query& of = given_.query[i];
      parts.push_back(TablePart(pass, FurtherRows(pass, i, of.feature), of.pool, of.dim));
      parts.back().column = of.column;
    }
    return AssembleRows(pass, pass.batch().samples, given_.query_width, std::move(parts));
  }

  // [E, heads] of the kinds of the events; undefined where they have none.
  at::Tensor Actions(Pass& pass) const {
    const std::string& feature = given_.options.action_feature();
    if (feature.empty() || EventOffsets(pass).back() == 0) return {};
    const RowLists& rows = FurtherRows(pass, given_.query.size(), feature);
    EMPORIUM_CHECK(rows.offset == HistoryRows(pass, 0).offset, "every event has one kind");
    RowPart part;
    part.table = &pass.table(rows.table);
    part.lists = ListsOf(std::span<const int32_t>(rows.index));
    return AssembleRows(pass, EventOffsets(pass).back(),
                        static_cast<int64_t>(given_.options.heads()), {part});
  }

  // The bucket of the days since each event.
  std::span<const int32_t> Gaps(Pass& pass) const {
    const auto& edges = given_.options.gap_edges_days();
    if (edges.empty()) return {};
    const std::vector<float>& ages = pass.batch().event_age_days;
    EMPORIUM_CHECK(static_cast<int32_t>(ages.size()) == EventOffsets(pass).back(),
                   "every event has an age");
    std::vector<int32_t> buckets;
    buckets.reserve(ages.size());
    for (const float age : ages)
      buckets.push_back(BucketOf(age, {edges.data(), edges.data() + edges.size()}));
    return pass.Keep(std::move(buckets));
  }

  // iif [B, 1] and its bucket, one of [B, buckets].
  std::pair<at::Tensor, at::Tensor> Rarity(Pass& pass) const {
    const RowLists& rows = TargetRows(pass, 0);
    const int64_t samples = pass.batch().samples;
    const at::Tensor rarity = at::zeros({samples, 1}, at::kFloat);
    const at::Tensor buckets = at::zeros({samples, kRarityBuckets}, at::kFloat);
    for (int64_t b = 0; b < samples; ++b) {
      double iif = 1;  // of no item: never seen
      if (rows.offset[b] < rows.offset[b + 1]) {
        const TableRows& table = pass.table(rows.table);
        EMPORIUM_CHECK(table.popularity != nullptr, "rows come with their popularity");
        iif = 1 - ShareOfLog(table.popularity[rows.index[rows.offset[b]]], table.popularity_total);
      }
      rarity.data_ptr<float>()[b] = static_cast<float>(iif);
      const auto bucket =
          std::min<int64_t>(kRarityBuckets - 1, static_cast<int64_t>(iif * kRarityBuckets));
      buckets.data_ptr<float>()[b * kRarityBuckets + bucket] = 1;
    }
    return {pass.ToDevice(rarity), pass.ToDevice(buckets)};
  }

  // What the rows say of logZ: [n, heads], or of their popularity [n, 1]; undefined otherwise.
  at::Tensor Known(Pass& pass, const RowLists& rows, const std::vector<uint32_t>& slots) const {
    const bool counts = given_.options.normalise() == spec::Nam::FREQUENCY;
    if ((!counts && slots.empty()) || rows.index.empty()) return {};
    const TableRows& table = pass.table(rows.table);
    EMPORIUM_CHECK(counts ? table.popularity != nullptr : table.slots != nullptr,
                   "rows come with their slots");
    const auto width = counts ? 1 : static_cast<int64_t>(slots.size());
    const at::Tensor known =
        at::zeros({static_cast<int64_t>(rows.index.size()), width}, at::kFloat);
    float* to = known.data_ptr<float>();
    for (const int32_t row : rows.index) {
      if (counts) *to++ = static_cast<float>(NaturalLog(1 + double{table.popularity[row]}));
      for (const uint32_t slot : slots) *to++ = table.slots[row * table.slot_width + slot];
    }
    return pass.ToDevice(known);
  }

  // Tells the rows' slots what was estimated, one number for each row.
  static void Report(Pass& pass, const RowLists& rows, const GlobalAttention::Estimate& estimate,
                     const std::vector<uint32_t>& slots) {
    if (slots.empty() || !estimate.log_z.defined()) return;
    const TableRows& table = pass.table(rows.table);
    EMPORIUM_CHECK(table.observed != nullptr, "there is room for what the model observes");
    EMPORIUM_CHECK(rows.index.size() == estimate.there.size(), "a target and an event is one row");
    const at::Tensor log_z = pass.ToHost(estimate.log_z.detach().contiguous());
    const float* const values = log_z.data_ptr<float>();
    struct Seen {
      double sum = 0;  // log of the sum of exponentials
      uint32_t times = 0;
    };
    const size_t heads = slots.size();
    std::map<int32_t, std::vector<Seen>> seen;
    for (size_t i = 0; i < rows.index.size(); ++i) {
      if (estimate.there[i] == 0) continue;
      std::vector<Seen>& of_row = seen[rows.index[i]];
      of_row.resize(heads);
      for (size_t h = 0; h < heads; ++h) {
        const double x = values[i * heads + h];
        of_row[h].sum = of_row[h].times++ == 0 ? x : LogAddExp(of_row[h].sum, x);
      }
    }
    for (const auto& [row, of_row] : seen) {
      for (size_t h = 0; h < heads; ++h) {
        table.observed[row * table.slot_width + slots[h]] =
            static_cast<float>(of_row[h].sum - NaturalLog(of_row[h].times));
        table.observed_mask[row] |= uint32_t{1} << slots[h];
      }
    }
  }

  const NamInputs given_;
  GlobalAttention attention_;
  ParameterId strength_;
  RarityGate gate_;
  Mlp fallback_;  // none where the gate is open
  std::vector<Mlp> towers_;
};

}  // namespace

Result<std::unique_ptr<Model>> MakeNam(const spec::Job& job, Device& device) {
  EMPORIUM_ASSIGN_OR_RETURN(NamInputs inputs, ParseNam(job));
  return std::unique_ptr<Model>(std::make_unique<NamModel>(job, std::move(inputs), device));
}

}  // namespace emporium::models
