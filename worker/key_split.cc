#include "worker/key_split.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "proto/check.h"

namespace emporium::worker {

KeySplit::KeySplit(const runtime::Route& route, std::vector<const TableKeys*> tables)
    : shards_(route.shards()) {
  tables_.resize(tables.size());
  std::vector<uint16_t> owner;
  for (size_t i = 0; i < tables.size(); ++i) {
    Table& table = tables_[i];
    table.keys = tables[i];
    if (shards_ == 1) continue;
    const std::vector<uint64_t>& keys = table.keys->keys;
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
  const Table& table = tables_[i];
  if (table.begin.empty()) return table.keys->keys.size();
  return table.begin[shard + 1] - table.begin[shard];
}

std::span<const uint32_t> KeySplit::rows(size_t i, size_t shard) const {
  const Table& table = tables_[i];
  if (table.begin.empty()) return {};
  return std::span(table.rows).subspan(table.begin[shard], count(i, shard));
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
  if (split.whole(i, shard)) {
    std::copy(keys.begin(), keys.end(), out.begin());
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
  if (split.whole(i, shard)) {
    std::copy(counts.begin(), counts.end(), out.begin());
    return;
  }
  size_t j = 0;
  for (const uint32_t row : split.rows(i, shard)) out[j++] = counts[row];
}

void ScaleInto(const float* from, size_t n, float scale, float* to) {
  for (size_t k = 0; k < n; ++k) to[k] = from[k] * scale;
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
  if (split.whole(i, shard)) return ScaleInto(from, out.size(), scale, out.data());
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

void ScatterRows(const KeySplit& split, size_t i, size_t shard, std::span<const float> from,
                 size_t dim, std::span<float> out) {
  if (from.empty()) return;
  if (split.whole(i, shard)) {
    std::memcpy(out.data(), from.data(), from.size_bytes());
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

// Keys and values of every table with keys of the shard, or with counts: Push and Assign.
std::vector<std::byte> EncodeRows(const FrameHeader& header, const KeySplit& split, size_t shard,
                                  std::span<const GradientSource> sources, float scale,
                                  bool with_counts) {
  EMPORIUM_CHECK(sources.size() == split.tables(), "one source per table");
  std::vector<FrameBuilder::Section> sections;
  std::vector<size_t> table_of_section;
  for (size_t i = 0; i < split.tables(); ++i) {
    const TableKeys& keys = split.table(i);
    const bool counts = with_counts && sources[i].counted;
    const auto rows = static_cast<uint32_t>(split.count(i, shard));
    if (rows == 0 && !counts) continue;
    EMPORIUM_CHECK(sources[i].values.size() == split.rows_of(i) * sources[i].dim,
                   "a source has a row per key");
    double total = 0;
    if (counts) {
      for (const float count : keys.counts) total += count;
    }
    sections.push_back({.table = keys.table,
                        .keys = rows,
                        .rows = rows,
                        .dim = sources[i].dim,
                        .want_popularity = false,
                        .has_counts = counts,
                        .total = total});
    table_of_section.push_back(i);
  }
  FrameBuilder builder(header, sections);
  for (size_t s = 0; s < sections.size(); ++s) {
    const size_t i = table_of_section[s];
    const FrameBuilder::Parts parts = builder.part(s);
    GatherKeys(split, i, shard, parts.keys);
    GatherRows(split, i, shard, sources[i], scale, parts.values);
    if (sections[s].has_counts) GatherCounts(split, i, shard, parts.counts);
  }
  return std::move(builder).Finish();
}

}  // namespace

std::vector<std::byte> EncodePull(const FrameHeader& header, const KeySplit& split, size_t shard) {
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
                        .total = 0});
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
          (!wants || frame->sections()[s].counts.size() == rows);
      if (!fits) {
        return Internal(who + " answered table " + std::to_string(split.table(i).table.value()) +
                        " with rows that do not fit the request; do all processes run the same "
                        "job file and version?");
      }
      const SectionView& section = frame->sections()[s++];
      ScatterRows(split, i, shard, section.values, target.dim, target.values);
      if (!wants || target.popularity.empty()) continue;
      ScatterRows(split, i, shard, section.counts, 1, target.popularity);
      if (target.total != nullptr) *target.total = section.total;
    }
  }
  return Status::Ok();
}

std::vector<std::byte> EncodePush(const FrameHeader& header, const KeySplit& split, size_t shard,
                                  std::span<const GradientSource> gradients, float scale) {
  return EncodeRows(header, split, shard, gradients, scale, true);
}

std::vector<std::byte> EncodeAssign(const FrameHeader& header, const KeySplit& split, size_t shard,
                                    std::span<const GradientSource> sources) {
  return EncodeRows(header, split, shard, sources, 1, false);
}

}  // namespace emporium::worker
