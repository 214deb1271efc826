#include "models/zoo/sequence_model.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "proto/check.h"
#include "proto/model_options.h"

namespace emporium::models {

namespace {

constexpr spec::FeatureSource kTargetSources[] = {spec::ROW, spec::ITEM};
constexpr spec::FeatureSource kHistorySources[] = {spec::HISTORY, spec::ROW};

int32_t LongestOf(const spec::Job& job, const spec::Feature& history) {
  return static_cast<int32_t>(history.source() == spec::HISTORY ? job.data().history().max_length()
                                                                : history.max_length());
}

// Rows of a table by index; a batch in which nothing is looked up may come without the table.
RowPart IndexedPart(const Pass& pass, TableId table, int32_t dim, std::span<const int32_t> index) {
  RowPart part;
  part.lists = ListsOf(index);
  part.dim = dim;
  const bool any = std::any_of(index.begin(), index.end(), [](int32_t i) { return i >= 0; });
  if (any) part.table = &pass.table(table);
  return part;
}

std::vector<int32_t> Picked(std::span<const int32_t> of, std::span<const int32_t> which) {
  std::vector<int32_t> picked;
  picked.reserve(which.size());
  for (int32_t i : which) picked.push_back(of[i]);
  return picked;
}

}  // namespace

SequenceInputs ParseSequences(const spec::Job& job, TaskCount tasks, Complaints& complaints) {
  SequenceInputs inputs;
  inputs.plain = ParseInputs(job, tasks, complaints);
  const std::vector<spec::TargetHistory> pairs = SequencePairs(job);
  if (pairs.empty()) {
    complaints.Add(inputs.plain.path("pair"), "there is none; name a target and its history");
  }
  for (size_t p = 0; p < pairs.size(); ++p) {
    const std::string field = inputs.plain.path("pair[" + std::to_string(p) + "]");
    const auto target =
        FindTableFeature(job, field + ".target", pairs[p].target(), kTargetSources, complaints);
    const auto history =
        FindTableFeature(job, field + ".history", pairs[p].history(), kHistorySources, complaints);
    if (!target || !history) continue;
    if (target->table_id != history->table_id ||
        target->feature->salt() != history->feature->salt() ||
        target->feature->hashing() != history->feature->hashing()) {
      complaints.Add(field, "features '" + pairs[p].target() + "' and '" + pairs[p].history() +
                                "' do not share their rows; give both one table, salt and hashing");
    }
    inputs.pairs.push_back({pairs[p].target(), pairs[p].history(), target->dim(), inputs.width});
    inputs.width += target->dim();
    inputs.longest = std::max(inputs.longest, LongestOf(job, *history->feature));
  }
  return inputs;
}

EncoderShape ParseEncoder(const spec::SequenceEncoder& options, int64_t width,
                          const std::string& field, Complaints& complaints) {
  if (options.blocks() == 0) complaints.Add(field + ".blocks", "there is none; give at least 1");
  if (options.heads() == 0 || width % options.heads() != 0) {
    complaints.Add(field + ".heads", std::to_string(options.heads()) +
                                         " heads do not divide the sequence's width " +
                                         std::to_string(width) + "; give a divisor");
  }
  CheckRate(field + ".dropout", options.dropout(), complaints);
  EncoderShape shape;
  shape.layers = options.blocks();
  shape.heads = options.heads();
  shape.width = width;
  shape.feed_forward = options.feed_forward() > 0 ? options.feed_forward() : width;
  shape.dropout = options.dropout();
  shape.norm = options.layer_norm();
  shape.leaky = true;
  return shape;
}

SequenceModel::SequenceModel(SequenceInputs inputs, Device& device)
    : PointwiseModel(inputs.plain, device), sequences_(std::move(inputs)) {}

const RowLists& SequenceModel::Field(const Pass& pass, size_t f, const std::string& feature) const {
  const std::vector<FieldColumn>& columns = pass.batch().fields;
  EMPORIUM_CHECK(f < columns.size() && columns[f].feature == feature,
                 "a batch's fields stand in the order of the model's features");
  return columns[f].rows;
}

const RowLists& SequenceModel::TargetRows(const Pass& pass, size_t pair) const {
  const size_t first = inputs().fields.size();
  return Field(pass, first + pair, sequences_.pairs[pair].target);
}

const RowLists& SequenceModel::HistoryRows(const Pass& pass, size_t pair) const {
  const size_t first = inputs().fields.size() + sequences_.pairs.size();
  const RowLists& rows = Field(pass, first + pair, sequences_.pairs[pair].history);
  EMPORIUM_CHECK(pair == 0 || rows.offset == HistoryRows(pass, 0).offset,
                 "all histories of a sample are of the same events");
  return rows;
}

const RowLists& SequenceModel::FurtherRows(const Pass& pass, size_t i,
                                           const std::string& feature) const {
  return Field(pass, inputs().fields.size() + 2 * sequences_.pairs.size() + i, feature);
}

std::span<const int32_t> SequenceModel::EventOffsets(const Pass& pass) const {
  return HistoryRows(pass, 0).offset;
}

at::Tensor SequenceModel::Targets(Pass& pass) const {
  std::vector<RowPart> parts;
  for (size_t p = 0; p < sequences_.pairs.size(); ++p) {
    const SequenceInputs::Pair& pair = sequences_.pairs[p];
    parts.push_back(TablePart(pass, TargetRows(pass, p), PoolKind::kSum, pair.dim));
    parts.back().column = pair.column;
  }
  return AssembleRows(pass, pass.batch().samples, sequences_.width, std::move(parts));
}

SharedHistories SequenceModel::Shared(Pass& pass) const {
  const std::span<const int32_t> offset = EventOffsets(pass);
  const auto same_as_before = [&](int32_t b) {
    for (size_t p = 0; p < sequences_.pairs.size(); ++p) {
      const std::vector<int32_t>& index = HistoryRows(pass, p).index;
      const auto at = [&](int32_t i) { return index.begin() + offset[i]; };
      if (!std::equal(at(b - 1), at(b), at(b), at(b + 1))) return false;
    }
    return true;
  };
  std::vector<int32_t> of;
  std::vector<int32_t> lists{0};
  std::vector<int32_t> event;
  for (int32_t b = 0; b < pass.batch().samples; ++b) {
    if (b == 0 || !same_as_before(b)) {
      EMPORIUM_CHECK(offset[b + 1] - offset[b] <= sequences_.longest,
                     "a history is at most as long as the job says");
      for (int32_t e = offset[b]; e < offset[b + 1]; ++e) event.push_back(e);
      lists.push_back(static_cast<int32_t>(event.size()));
    }
    of.push_back(static_cast<int32_t>(lists.size()) - 2);
  }
  if (lists.size() == offset.size()) of.clear();
  return {{pass.Keep(std::move(lists)), pass.Keep(std::move(of))}, pass.Keep(std::move(event))};
}

at::Tensor SequenceModel::EventRows(Pass& pass, const SharedHistories* past) const {
  std::vector<RowPart> parts;
  size_t events = static_cast<size_t>(EventOffsets(pass).back());
  for (size_t p = 0; p < sequences_.pairs.size(); ++p) {
    const SequenceInputs::Pair& pair = sequences_.pairs[p];
    const RowLists& rows = HistoryRows(pass, p);
    std::span<const int32_t> index = rows.index;
    if (past != nullptr && !past->lists.of.empty()) {
      index = pass.Keep(Picked(rows.index, past->event));
      events = index.size();
    }
    parts.push_back(IndexedPart(pass, rows.table, pair.dim, index));
    parts.back().column = pair.column;
  }
  return AssembleRows(pass, static_cast<int64_t>(events), sequences_.width, std::move(parts));
}

at::Tensor SequenceModel::Events(Pass& pass) const { return EventRows(pass, nullptr); }

at::Tensor SequenceModel::Events(Pass& pass, const SharedHistories& past) const {
  return EventRows(pass, &past);
}

Elements SequenceModel::ElementsOf(Pass& pass, const SharedHistories& past) {
  const int32_t samples = pass.batch().samples;
  std::vector<int32_t> offset{0};
  std::vector<int32_t> row;
  for (int32_t b = 0; b < samples; ++b) {
    const int32_t k = past.lists.of.empty() ? b : past.lists.of[b];
    row.push_back(b);
    for (int32_t e = past.lists.offset[k]; e < past.lists.offset[k + 1]; ++e) {
      row.push_back(samples + e);
    }
    offset.push_back(static_cast<int32_t>(row.size()));
  }
  return {pass.Keep(std::move(offset)), pass.Keep(std::move(row))};
}

std::span<const int32_t> SequenceModel::PositionsOf(Pass& pass, const SharedHistories& past,
                                                    bool with_targets) const {
  std::vector<int32_t> position(with_targets ? static_cast<size_t>(pass.batch().samples) : 0, 0);
  const std::span<const int32_t> offset = past.lists.offset;
  for (size_t k = 0; k + 1 < offset.size(); ++k) {
    for (int32_t j = 1; j <= offset[k + 1] - offset[k]; ++j) position.push_back(j);
  }
  return pass.Keep(std::move(position));
}

at::Tensor SequenceModel::ElementRows(Pass& pass, const SharedHistories& past, bool with_targets,
                                      ParameterId positions, int64_t position_width) const {
  const std::span<const int32_t> offset = past.lists.offset;
  const std::span<const int32_t> position = PositionsOf(pass, past, with_targets);
  std::vector<RowPart> parts;
  for (size_t p = 0; p < sequences_.pairs.size(); ++p) {
    const RowLists& history = HistoryRows(pass, p);
    const RowLists& target = TargetRows(pass, p);
    std::vector<int32_t> index;
    index.reserve(position.size());
    for (int32_t b = 0; with_targets && b < pass.batch().samples; ++b) {
      // A target of no key is a row of zeros.
      const bool has_key = target.offset[b + 1] > target.offset[b];
      index.push_back(has_key ? target.index[target.offset[b]] : -1);
    }
    for (size_t k = 0; k + 1 < offset.size(); ++k) {
      for (int32_t e = offset[k + 1]; e > offset[k]; --e) {
        index.push_back(history.index[past.event[e - 1]]);
      }
    }
    parts.push_back(
        IndexedPart(pass, history.table, sequences_.pairs[p].dim, pass.Keep(std::move(index))));
    parts.back().column = sequences_.pairs[p].column;
  }
  if (position_width > 0) {
    RowPart part;
    part.source = pass.dense(positions);
    part.lists = ListsOf(position);
    part.column = sequences_.width;
    parts.push_back(std::move(part));
  }
  return AssembleRows(pass, static_cast<int64_t>(position.size()),
                      sequences_.width + position_width, std::move(parts));
}

at::Tensor SequenceModel::WithPlain(Pass& pass, std::vector<at::Tensor> parts) const {
  if (inputs().width() > 0) parts.insert(parts.begin(), Inputs(pass));
  return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

}  // namespace emporium::models
