// Updates of many rows: in blocks, so that one call of the optimizer serves a block while the rows
// of the blocks behind it are fetched.
#include <algorithm>
#include <array>
#include <cstring>

#include "proto/check.h"
#include "ps/row_pass.h"
#include "ps/table_impl.h"

namespace emporium::ps {
namespace {

// Rows of one call of the optimizer, and how many of these blocks are fetched ahead.
constexpr size_t kRows = 16;
constexpr size_t kBlocksAhead = 2;

}  // namespace

// One call of Apply.
class Table::Updater {
 public:
  Updater(Table::Impl& table, const UpdateBatch& batch)
      : t_(table),
        batch_(batch),
        shape_(table.shape()),
        layout_(table.layout()),
        weights_in_place_(table.fp32()),
        state_in_place_(shape_.state_in_place()),
        counts_missed_(table.optimizer->CountsMissed()),
        rows_(table.slabs, batch.slots) {
    const size_t weights = weights_in_place_ ? 0 : kRows * layout_.dim;
    const size_t state = state_in_place_ ? 0 : kRows * layout_.state;
    t_.scratch.resize(std::max(t_.scratch.size(), weights + state));
    for (size_t i = 0; i < kRows; ++i) {
      weights_[i] = t_.scratch.data() + (weights_in_place_ ? 0 : i * layout_.dim);
      state_[i] = t_.scratch.data() + weights + (state_in_place_ ? 0 : i * layout_.state);
    }
  }

  void Run() {
    const size_t count = batch_.slots.size();
    constexpr size_t kAhead = kRows * kBlocksAhead;
    static_assert(RowFinder::kBlock % kRows == 0 && kAhead + kRows <= RowFinder::kBlock);
    Ask(0, std::min(count, kAhead));
    for (size_t begin = 0; begin < count; begin += kRows) {
      if (begin % RowFinder::kBlock == 0) rows_.Find(begin);
      const size_t end = std::min(begin + kRows, count);
      Ask(std::min(begin + kAhead, count), std::min(end + kAhead, count));
      for (size_t i = begin; i < end; ++i) Begin(i, i - begin);
      t_.optimizer->ApplyRows({.rows = end - begin,
                               .dim = layout_.dim,
                               .weights = weights_.data(),
                               .state = state_.data(),
                               .gradients = gradients_.data(),
                               .updates = layout_.updates ? updates_.data() : nullptr,
                               .missed = counts_missed_ ? missed_.data() : nullptr,
                               .learning_rate_factor = batch_.learning_rate_factor,
                               .gradient_scale = batch_.gradient_scale});
      if (weights_in_place_ && (state_in_place_ || layout_.state == 0)) continue;
      for (size_t i = begin; i < end; ++i) End(i, i - begin);
    }
  }

 private:
  EMPORIUM_INLINE void Ask(size_t begin, size_t end) const {
    for (size_t i = begin; i < end; ++i) {
      PrefetchLines(rows_[i].weights, shape_.weight_bytes());
      PrefetchLines(rows_[i].tail, shape_.tail_bytes());
    }
  }

  // What happens to row i before the optimizer sees it; it is number `at` of its block.
  void Begin(size_t i, size_t at) {
    const RowRef& row = rows_[i];
    gradients_[at] =
        batch_.gradient_rows.empty() ? &batch_.gradients[i * layout_.dim] : batch_.gradient_rows[i];
    const size_t bytes = shape_.weight_bytes();
    if (!batch_.kept_rows.empty()) {
      CopyRowBytes(row.weights, bytes, batch_.kept_rows.data() + i * bytes);
    }
    if (layout_.popularity_bytes > 0) CountPopularity(i, row.tail);
    if (counts_missed_) {
      // Steps count from 1; a row that has not been updated yet has missed nothing.
      const uint32_t last = shape_.LastStep(row.tail);
      missed_[at] = last > 0 && batch_.step > last ? batch_.step - last - 1 : 0;
    }
    shape_.SetLastStep(row.tail, batch_.step);
    if (layout_.updates) {
      updates_[at] = shape_.Updates(row.tail) + 1;
      shape_.SetUpdates(row.tail, updates_[at]);
    }
    if (weights_in_place_) {
      weights_[at] = reinterpret_cast<float*>(row.weights);
    } else {
      Decode(layout_.element, row.weights, layout_.dim, weights_[at]);
    }
    if (state_in_place_) {
      state_[at] = reinterpret_cast<float*>(row.tail);
    } else {
      std::copy_n(row.tail, layout_.state * sizeof(float),
                  reinterpret_cast<std::byte*>(state_[at]));
    }
  }

  void CountPopularity(size_t i, std::byte* tail) const {
    if (!batch_.kept_popularity.empty()) {
      batch_.kept_popularity[i] = t_.PopularityAt(tail, batch_.step - 1);
    }
    const float added = batch_.counts.empty() ? 0 : batch_.counts[i];
    const uint32_t from = t_.TickOf(tail);
    const uint32_t to = t_.TickAt(batch_.step);
    const double factor = t_.decay.Factor(from, to);
    const float stored = t_.StoredPopularity(tail);
    const float now = static_cast<float>(stored * factor) + added;
    const bool rounds = layout_.popularity_bytes < sizeof(float);
    const uint32_t random =
        rounds ? PopularityBits(t_.settings.seed, batch_.keys[i], batch_.step) : 0;
    t_.code.Encode(now, random, shape_.Popularity(tail));
    if (t_.extras.fades()) FadeSlots(i, from, to, shape_.Extra(tail));
    if (t_.event_time()) RowSlots::SetTime(shape_.Extra(tail), std::max(from, to));
    const float kept = t_.StoredPopularity(tail);
    if (batch_.keys.empty()) {
      t_.stats.Move(stored, from, kept, std::max(from, to));
    } else {
      t_.stats.Change(batch_.keys[i], stored, from, kept, std::max(from, to));
    }
  }

  void FadeSlots(size_t i, uint32_t from, uint32_t to, std::byte* extras) const {
    t_.slot_stats.Hold(extras, from);
    t_.extras.Fade(extras, from, to);
    t_.slot_stats.Settle(batch_.keys[i], extras, std::max(from, to));
  }

  // Writes back what the optimizer did not see in its place.
  void End(size_t i, size_t at) const {
    const RowRef& row = rows_[i];
    if (!weights_in_place_) {
      Encode(layout_.element, weights_[at], layout_.dim,
             RoundingSeedOf(t_.settings.seed, batch_.keys[i], batch_.step), row.weights);
    }
    if (!state_in_place_) std::memcpy(row.tail, state_[at], layout_.state * sizeof(float));
  }

  Table::Impl& t_;
  const UpdateBatch& batch_;
  const RowShape& shape_;
  const RowLayout& layout_;
  const bool weights_in_place_;
  const bool state_in_place_;
  const bool counts_missed_;
  RowFinder rows_;
  std::array<float*, kRows> weights_;
  std::array<float*, kRows> state_;
  std::array<const float*, kRows> gradients_;
  std::array<uint32_t, kRows> updates_;
  std::array<uint32_t, kRows> missed_;
};

void Table::Apply(const UpdateBatch& batch) {
  Impl& t = *impl_;
  const size_t rows = batch.slots.size();
  EMPORIUM_CHECK(batch.gradient_rows.empty() ? batch.gradients.size() == rows * t.layout().dim
                                             : batch.gradient_rows.size() == rows,
                 "one gradient per slot");
  EMPORIUM_CHECK(batch.counts.empty() || batch.counts.size() == rows, "one count per slot");
  EMPORIUM_CHECK(
      batch.kept_rows.empty() || batch.kept_rows.size() == rows * t.shape().weight_bytes(),
      "room for every row");
  EMPORIUM_CHECK(batch.kept_popularity.empty() ||
                     (t.settings.popularity && batch.kept_popularity.size() == rows),
                 "room for every row's popularity");
  const bool exact =
      t.fp32() && (!t.settings.popularity || t.layout().popularity_bytes == sizeof(float));
  EMPORIUM_CHECK((exact && t.slot_stats.empty()) || batch.keys.size() == rows,
                 "what rounds or is a counter needs the keys");
  t.BeforeChange(batch.keys, batch.slots);
  Updater(t, batch).Run();
}

}  // namespace emporium::ps
