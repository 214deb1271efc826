#include "worker/key_split.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "proto/check.h"
#include "proto/element.h"

namespace emporium::worker {

KeySplit::KeySplit(const runtime::Route& route, std::vector<const TableKeys*> tables)
    : shards_(route.shards()) {
  tables_.resize(tables.size());
  std::vector<uint16_t> owner;
  for (size_t i = 0; i < tables.size(); ++i) {
    Table& table = tables_[i];
    table.keys = tables[i];
    const std::vector<uint64_t>& keys = table.keys->keys;
    if (shards_ == 1) {
      table.begin = {0, static_cast<uint32_t>(keys.size())};
      continue;
    }
    if (!table.keys->shard_begin.empty()) {
      table.begin = table.keys->shard_begin;
      EMPORIUM_CHECK(table.begin.size() == shards_ + 1, "keys are in the order of this route");
      continue;
    }
    // Counting sort by owner: two passes, and positions stay ascending within a shard.
    owner.resize(keys.size());
    table.begin.assign(shards_ + 1, 0);
    for (size_t k = 0; k < keys.size(); ++k) {
      owner[k] = route.ShardOf(keys[k]).value();
      ++table.begin[owner[k] + 1];
    }
    for (size_t s = 0; s < shards_; ++s) table.begin[s + 1] += table.begin[s];
    table.rows.resize(keys.size());
    std::vector<uint32_t> next(table.begin.begin(), table.begin.end() - 1);
    for (size_t k = 0; k < keys.size(); ++k) {
      table.rows[next[owner[k]]++] = static_cast<uint32_t>(k);
    }
  }
}

size_t KeySplit::count(size_t i, size_t shard) const {
  return tables_[i].begin[shard + 1] - tables_[i].begin[shard];
}

std::span<const uint32_t> KeySplit::rows(size_t i, size_t shard) const {
  return std::span(tables_[i].rows).subspan(tables_[i].begin[shard], count(i, shard));
}

std::vector<uint32_t> TableDims(const spec::Job& job) {
  std::vector<uint32_t> dims;
  for (const spec::Table& table : job.table()) dims.push_back(table.dim());
  for (const spec::DenseGroup& group : job.dense()) dims.push_back(group.chunk_floats());
  if (job.dense().empty()) dims.push_back(spec::DenseGroup::default_instance().chunk_floats());
  return dims;
}

namespace {

void GatherKeys(const KeySplit& split, size_t i, size_t shard, std::span<uint64_t> out) {
  const std::vector<uint64_t>& keys = split.table(i).keys;
  if (split.in_order(i)) {
    std::copy_n(keys.data() + split.first(i, shard), out.size(), out.data());
    return;
  }
  size_t j = 0;
  for (const uint32_t row : split.rows(i, shard)) out[j++] = keys[row];
}

void GatherCounts(const KeySplit& split, size_t i, size_t shard, std::span<float> out) {
  const std::vector<float>& counts = split.table(i).counts;
  if (counts.empty()) {
    std::fill(out.begin(), out.end(), 0.0f);
    return;
  }
  if (split.in_order(i)) {
    std::copy_n(counts.data() + split.first(i, shard), out.size(), out.data());
    return;
  }
  size_t j = 0;
  for (const uint32_t row : split.rows(i, shard)) out[j++] = counts[row];
}

// Calls visit(position in table(i).keys) for each key of the shard, in order.
template <class Visit>
void ForEachKey(const KeySplit& split, size_t i, size_t shard, const Visit& visit) {
  if (split.in_order(i)) {
    const size_t first = split.first(i, shard);
    for (size_t k = first; k < first + split.count(i, shard); ++k) visit(k);
    return;
  }
  for (const uint32_t row : split.rows(i, shard)) visit(size_t{row});
}

uint32_t CountObserved(const KeySplit& split, size_t i, size_t shard) {
  uint32_t observed = 0;
  ForEachKey(split, i, shard, [&](size_t k) {
    observed += static_cast<uint32_t>(std::popcount(split.table(i).observed_mask[k]));
  });
  return observed;
}

// What was observed of the keys, of `slots` slots each.
void GatherObserved(const KeySplit& split, size_t i, size_t shard, uint32_t slots,
                    const FrameBuilder::Parts& parts) {
  const TableKeys& keys = split.table(i);
  const uint32_t bytes = MaskBytes(slots);
  size_t value = 0;
  size_t byte = 0;
  ForEachKey(split, i, shard, [&](size_t k) {
    const uint32_t mask = keys.observed_mask[k];
    for (uint32_t b = 0; b < bytes; ++b) parts.masks[byte++] = static_cast<uint8_t>(mask >> 8 * b);
    for (uint32_t left = mask; left != 0; left &= left - 1) {
      const auto s = static_cast<size_t>(std::countr_zero(left));
      parts.observed[value++] = keys.observed[k * slots + s];
    }
  });
}

// Of the whole micro-batch; of a table that it does not meet nothing was added.
void GatherTotals(const TableKeys& keys, std::span<double> out) {
  if (keys.slot_totals.empty()) {
    std::fill(out.begin(), out.end(), 0.0);
    return;
  }
  EMPORIUM_CHECK(keys.slot_totals.size() == out.size(), "a total for each counter");
  std::copy(keys.slot_totals.begin(), keys.slot_totals.end(), out.begin());
}

// In blocks of a constant size, which the compiler makes vector instructions of.
void ScaleInto(const float* __restrict from, size_t n, float scale, float* __restrict to) {
  constexpr size_t kBlock = 16;
  size_t k = 0;
  for (; k + kBlock <= n; k += kBlock) {
    for (size_t j = 0; j < kBlock; ++j) to[k + j] = from[k + j] * scale;
  }
  for (; k < n; ++k) to[k] = from[k] * scale;
}

uint64_t HashOf(const KeySplit& split, size_t i, size_t shard) {
  const std::span<const uint64_t> keys = split.table(i).keys;
  if (split.in_order(i)) {
    return HashOfKeys(keys.subspan(split.first(i, shard), split.count(i, shard)));
  }
  std::vector<uint64_t> own(split.count(i, shard));
  GatherKeys(split, i, shard, own);
  return HashOfKeys(own);
}

// One compiled loop per usual row width, so that a row is a few vector instructions.
template <size_t kDim>
void GatherRowsOf(std::span<const uint32_t> rows, const float* from, float scale, float* to) {
  for (size_t j = 0; j < rows.size(); ++j) {
    ScaleInto(from + size_t{rows[j]} * kDim, kDim, scale, to + j * kDim);
  }
}

void GatherRows(const KeySplit& split, size_t i, size_t shard, const GradientSource& source,
                float scale, std::span<float> out) {
  const float* const from = source.values.data();
  if (split.in_order(i)) {
    return ScaleInto(from + split.first(i, shard) * source.dim, out.size(), scale, out.data());
  }
  const auto rows = split.rows(i, shard);
  switch (source.dim) {
    case 16:
      return GatherRowsOf<16>(rows, from, scale, out.data());
    case 32:
      return GatherRowsOf<32>(rows, from, scale, out.data());
    case 64:
      return GatherRowsOf<64>(rows, from, scale, out.data());
    default:
      for (size_t j = 0; j < rows.size(); ++j) {
        ScaleInto(from + size_t{rows[j]} * source.dim, source.dim, scale,
                  out.data() + j * source.dim);
      }
  }
}

void ScatterFloats(const KeySplit& split, size_t i, size_t shard, std::span<const float> from,
                   size_t dim, std::span<float> out) {
  if (from.empty()) return;
  if (split.in_order(i)) {
    std::memcpy(out.data() + split.first(i, shard) * dim, from.data(), from.size_bytes());
    return;
  }
  // Rows are short: a copy of a constant size needs no call.
  constexpr size_t kBlock = 16;
  const float* row_from = from.data();
  for (const uint32_t row : split.rows(i, shard)) {
    float* const to = out.data() + size_t{row} * dim;
    size_t k = 0;
    for (; k + kBlock <= dim; k += kBlock) {
      std::memcpy(to + k, row_from + k, kBlock * sizeof(float));
    }
    for (; k < dim; ++k) to[k] = row_from[k];
    row_from += dim;
  }
}

// Rows of a reply, in the form in which they came.
void ScatterRows(const KeySplit& split, size_t i, size_t shard, const SectionView& section,
                 std::span<float> out) {
  const uint32_t dim = section.dim;
  if (section.element == spec::FP32) {
    return ScatterFloats(split, i, shard, section.values, dim, out);
  }
  const std::byte* from = section.weights.data();
  if (split.in_order(i)) {
    DecodeRows(section.element, from, section.rows, dim, &out[split.first(i, shard) * dim]);
    return;
  }
  const size_t bytes = WeightBytes(section.element, dim);
  for (const uint32_t row : split.rows(i, shard)) {
    Decode(section.element, from, dim, &out[size_t{row} * dim]);
    from += bytes;
  }
}

// Keys and values of every table with keys of the shard, or with counts: Push and Assign.
Bytes EncodeRows(const FrameHeader& header, const KeySplit& split, size_t shard,
                 std::span<const GradientSource> sources, float scale, KeyForm form) {
  EMPORIUM_CHECK(sources.size() == split.tables(), "one source per table");
  std::vector<FrameBuilder::Section> sections;
  std::vector<size_t> table_of_section;
  for (size_t i = 0; i < split.tables(); ++i) {
    const TableKeys& keys = split.table(i);
    const bool push = header.type == FrameType::kPush;
    const bool counts = push && sources[i].counted;
    const uint32_t totals = push ? sources[i].counters : 0;
    const auto rows = static_cast<uint32_t>(split.count(i, shard));
    if (rows == 0 && !counts && totals == 0) continue;
    EMPORIUM_CHECK(sources[i].values.size() == split.rows_of(i) * sources[i].dim,
                   "a source has a row per key");
    FrameBuilder::Section section;
    section.table = keys.table;
    section.keys = rows;
    section.rows = rows;
    section.dim = sources[i].dim;
    section.has_counts = counts;
    if (counts) {
      for (const float count : keys.counts) section.total += count;
    }
    section.slot_totals = totals;
    if (push && rows > 0 && !keys.observed_mask.empty()) {
      section.slots = static_cast<uint32_t>(keys.observed.size() / keys.keys.size());
      section.observed = CountObserved(split, i, shard);
    }
    section.known_keys = form == KeyForm::kHash && rows > 0;
    if (section.known_keys) section.keys_hash = HashOf(split, i, shard);
    sections.push_back(section);
    table_of_section.push_back(i);
  }
  FrameBuilder builder(header, sections);
  for (size_t s = 0; s < sections.size(); ++s) {
    const size_t i = table_of_section[s];
    const FrameBuilder::Parts parts = builder.part(s);
    if (!sections[s].known_keys) GatherKeys(split, i, shard, parts.keys);
    GatherRows(split, i, shard, sources[i], scale, parts.values);
    if (sections[s].has_counts) GatherCounts(split, i, shard, parts.counts);
    if (sections[s].slots > 0) GatherObserved(split, i, shard, sections[s].slots, parts);
    if (sections[s].slot_totals > 0) GatherTotals(split.table(i), parts.slot_totals);
  }
  return std::move(builder).Finish();
}

}  // namespace

Bytes EncodePull(const FrameHeader& header, const KeySplit& split, size_t shard) {
  std::vector<FrameBuilder::Section> sections;
  std::vector<size_t> table_of_section;
  for (size_t i = 0; i < split.tables(); ++i) {
    const auto keys = static_cast<uint32_t>(split.count(i, shard));
    if (keys == 0) continue;
    sections.push_back({.table = split.table(i).table,
                        .keys = keys,
                        .rows = 0,
                        .dim = 0,
                        .want_popularity = split.table(i).want_popularity,
                        .has_counts = false,
                        .total = 0,
                        .want_slots = split.table(i).want_slots > 0});
    table_of_section.push_back(i);
  }
  FrameBuilder builder(header, sections);
  for (size_t s = 0; s < sections.size(); ++s) {
    GatherKeys(split, table_of_section[s], shard, builder.part(s).keys);
  }
  return std::move(builder).Finish();
}

Status DecodePull(const KeySplit& split, std::span<const runtime::Message> replies,
                  std::span<const RowTarget> targets) {
  EMPORIUM_CHECK(replies.size() == split.shards() && targets.size() == split.tables(),
                 "one reply per shard, one target per table");
  for (size_t shard = 0; shard < replies.size(); ++shard) {
    const std::string who = "shard " + std::to_string(shard);
    auto frame = FrameView::Parse(replies[shard].bytes());
    if (!frame.ok()) return Internal(who + ": " + frame.status().message());
    size_t s = 0;
    for (size_t i = 0; i < split.tables(); ++i) {
      const size_t rows = split.count(i, shard);
      if (rows == 0) continue;
      const RowTarget& target = targets[i];
      const bool wants = split.table(i).want_popularity;
      const bool fits =
          s < frame->sections().size() && frame->sections()[s].table == split.table(i).table &&
          frame->sections()[s].rows == rows && frame->sections()[s].dim == target.dim &&
          (!wants || frame->sections()[s].counts.size() == rows) &&
          frame->sections()[s].slots_dim == split.table(i).want_slots &&
          frame->sections()[s].slot_totals.size() == split.table(i).want_totals;
      if (!fits) {
        return Internal(who + " answered table " + std::to_string(split.table(i).table.value()) +
                        " with rows that do not fit the request; do all processes run the same "
                        "job file and version?");
      }
      const SectionView& section = frame->sections()[s++];
      ScatterRows(split, i, shard, section, target.values);
      if (!target.slots.empty()) {
        ScatterFloats(split, i, shard, section.slots, section.slots_dim, target.slots);
        std::copy(section.slot_totals.begin(), section.slot_totals.end(),
                  target.slot_totals.begin());
      }
      if (!wants || target.popularity.empty()) continue;
      ScatterFloats(split, i, shard, section.counts, 1, target.popularity);
      if (target.total != nullptr) *target.total = section.total;
    }
  }
  return Status::Ok();
}

Bytes EncodePush(const FrameHeader& header, const KeySplit& split, size_t shard,
                 std::span<const GradientSource> gradients, float scale, KeyForm form) {
  return EncodeRows(header, split, shard, gradients, scale, form);
}

Bytes EncodeAssign(const FrameHeader& header, const KeySplit& split, size_t shard,
                   std::span<const GradientSource> sources) {
  return EncodeRows(header, split, shard, sources, 1, KeyForm::kKeys);
}

}  // namespace emporium::worker
