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

at::Tensor SequenceModel::Events(Pass& pass) const {
  std::vector<RowPart> parts;
  for (size_t p = 0; p < sequences_.pairs.size(); ++p) {
    const SequenceInputs::Pair& pair = sequences_.pairs[p];
    const RowLists& rows = HistoryRows(pass, p);
    parts.push_back(IndexedPart(pass, rows.table, pair.dim, rows.index));
    parts.back().column = pair.column;
  }
  return AssembleRows(pass, EventOffsets(pass).back(), sequences_.width, std::move(parts));
}

Elements SequenceModel::ElementsOf(Pass& pass, bool with_target) const {
  const std::span<const int32_t> offset = EventOffsets(pass);
  const int32_t samples = pass.batch().samples;
  Elements elements;
  for (int32_t b = 0; b < samples; ++b) {
    const int32_t events = offset[b + 1] - offset[b];
    EMPORIUM_CHECK(events <= sequences_.longest, "a history is at most as long as the job says");
    elements.lengths.push_back(events + (with_target ? 1 : 0));
    elements.length = std::max<int64_t>(elements.length, elements.lengths.back());
  }
  std::vector<int32_t> position(static_cast<size_t>(samples * elements.length), -1);
  std::vector<int32_t> event;
  event.reserve(static_cast<size_t>(offset.back()));
  for (int32_t b = 0; b < samples; ++b) {
    const auto first = static_cast<int32_t>(b * elements.length);
    for (int32_t k = 0; k < elements.lengths[b]; ++k) {
      position[static_cast<size_t>(first + k)] = k;
      if (k > 0 || !with_target) event.push_back(first + k);
    }
  }
  elements.position = pass.Keep(std::move(position));
  elements.event = pass.Keep(std::move(event));
  return elements;
}

at::Tensor SequenceModel::ElementRows(Pass& pass, const Elements& elements, bool with_target,
                                      ParameterId positions, int64_t position_width) const {
  const std::span<const int32_t> offset = EventOffsets(pass);
  const size_t places = elements.position.size();
  std::vector<RowPart> parts;
  for (size_t p = 0; p < sequences_.pairs.size(); ++p) {
    const RowLists& history = HistoryRows(pass, p);
    const RowLists& target = TargetRows(pass, p);
    std::vector<int32_t> index(places, -1);
    auto next = elements.event.begin();
    for (int32_t b = 0; b < pass.batch().samples; ++b) {
      // A target of no key is a row of zeros.
      if (with_target && target.offset[b + 1] > target.offset[b]) {
        index[static_cast<size_t>(b * elements.length)] = target.index[target.offset[b]];
      }
      for (int32_t j = offset[b + 1]; j > offset[b]; --j) {
        index[static_cast<size_t>(*next++)] = history.index[j - 1];
      }
    }
    parts.push_back(
        IndexedPart(pass, history.table, sequences_.pairs[p].dim, pass.Keep(std::move(index))));
    parts.back().column = sequences_.pairs[p].column;
  }
  if (position_width > 0) {
    RowPart part;
    part.source = pass.dense(positions);
    part.lists = ListsOf(elements.position);
    part.column = sequences_.width;
    parts.push_back(std::move(part));
  }
  return AssembleRows(pass, static_cast<int64_t>(places), sequences_.width + position_width,
                      std::move(parts));
}

at::Tensor SequenceModel::WithPlain(Pass& pass, std::vector<at::Tensor> parts) const {
  if (inputs().width() > 0) parts.insert(parts.begin(), Inputs(pass));
  return parts.size() == 1 ? parts[0] : at::cat(parts, 1);
}

}  // namespace emporium::models
