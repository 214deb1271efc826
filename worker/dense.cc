#include "worker/dense.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "proto/check.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace emporium::worker {
namespace {

bool Holds(const spec::DenseGroup& group, const models::DenseParameter& parameter) {
  if (group.statistics() != parameter.statistic) return false;
  if (group.parameter().empty()) return true;
  return std::any_of(
      group.parameter().begin(), group.parameter().end(),
      [&parameter](const std::string& prefix) { return parameter.name.rfind(prefix, 0) == 0; });
}

}  // namespace

uint64_t DenseKey(std::string_view parameter, uint64_t chunk) {
  return XXH3_64bits_withSeed(parameter.data(), parameter.size(), chunk);
}

Result<DenseLayout> DenseLayout::Make(const spec::Job& job,
                                      const std::vector<models::DenseParameter>& parameters) {
  std::vector<spec::DenseGroup> groups(job.dense().begin(), job.dense().end());
  if (groups.empty()) groups.emplace_back();  // one group with the schema's defaults, for all
  std::vector<TableKeys> tables(groups.size());
  std::vector<std::vector<Chunk>> chunks(groups.size());
  std::vector<std::unordered_set<uint64_t>> seen(groups.size());
  size_t offset = 0;
  for (const models::DenseParameter& parameter : parameters) {
    const auto group = std::find_if(groups.begin(), groups.end(),
                                    [&parameter](const auto& g) { return Holds(g, parameter); });
    if (group == groups.end()) {
      return InvalidArgument("dense: no group holds the parameter " + parameter.name +
                             "; add a group without `parameter`, which holds the rest");
    }
    const auto g = static_cast<size_t>(group - groups.begin());
    const auto size = static_cast<size_t>(parameter.size);
    const size_t step = group->chunk_floats();
    for (size_t at = 0; at < size; at += step) {
      const uint64_t key = DenseKey(parameter.name, at / step);
      if (!seen[g].insert(key).second) {
        return InvalidArgument("dense: two parameters named " + parameter.name +
                               "; the model names each of its own");
      }
      tables[g].keys.push_back(key);
      chunks[g].push_back({offset + at, static_cast<uint32_t>(std::min(step, size - at))});
    }
    offset += size;
  }
  DenseLayout layout;
  layout.floats_ = offset;
  for (size_t g = 0; g < groups.size(); ++g) {
    if (tables[g].keys.empty()) continue;
    tables[g].table = TableId(static_cast<uint16_t>(job.table_size() + static_cast<int>(g)));
    layout.tables_.push_back(std::move(tables[g]));
    layout.chunk_floats_.push_back(groups[g].chunk_floats());
    layout.chunks_.push_back(std::move(chunks[g]));
  }
  return layout;
}

void DenseLayout::RowsToFlat(size_t i, std::span<const float> rows, std::span<float> flat) const {
  const size_t width = chunk_floats_[i];
  EMPORIUM_CHECK(rows.size() == chunks_[i].size() * width && flat.size() == floats_,
                 "the buffers have the layout's sizes");
  const float* row = rows.data();
  for (const Chunk& chunk : chunks_[i]) {
    std::memcpy(flat.data() + chunk.offset, row, chunk.floats * sizeof(float));
    row += width;
  }
}

void DenseLayout::FlatToRows(size_t i, std::span<const float> flat, std::span<float> rows) const {
  const size_t width = chunk_floats_[i];
  EMPORIUM_CHECK(rows.size() == chunks_[i].size() * width && flat.size() == floats_,
                 "the buffers have the layout's sizes");
  float* row = rows.data();
  for (const Chunk& chunk : chunks_[i]) {
    std::memcpy(row, flat.data() + chunk.offset, chunk.floats * sizeof(float));
    std::fill(row + chunk.floats, row + width, 0.0f);
    row += width;
  }
}

}  // namespace emporium::worker
