#include "worker/row_source.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "proto/check.h"
#include "proto/exact_math.h"

namespace emporium::worker {

void PrepareRows(const std::vector<TableKeys>& tables, std::span<const uint32_t> dims,
                 bool with_gradients, RowBuffer* out) {
  const size_t n = tables.size();
  out->rows.assign(n, {});
  out->values.resize(n);
  out->popularity.resize(n);
  out->gradients.resize(n);
  out->slots.resize(n);
  out->slot_totals.resize(n);
  for (size_t i = 0; i < n; ++i) {
    const TableKeys& keys = tables[i];
    EMPORIUM_CHECK(keys.table.value() < dims.size(), "the batch names tables of the job");
    const size_t rows = keys.keys.size();
    const uint32_t dim = dims[keys.table.value()];
    out->values[i].resize(rows * dim);
    out->popularity[i].resize(keys.want_popularity ? rows : 0);
    out->gradients[i].resize(with_gradients ? rows * dim : 0);
    out->slots[i].resize(rows * keys.want_slots);
    out->slot_totals[i].assign(keys.want_totals, 0);
    models::TableRows& set = out->rows[i];
    set.table = keys.table;
    set.rows = static_cast<int32_t>(rows);
    set.dim = static_cast<int32_t>(dim);
    set.values = out->values[i].data();
    set.popularity = keys.want_popularity ? out->popularity[i].data() : nullptr;
    set.gradient = with_gradients ? out->gradients[i].data() : nullptr;
    set.slot_width = static_cast<int32_t>(keys.want_slots);
    set.slots = keys.want_slots > 0 ? out->slots[i].data() : nullptr;
  }
}

std::vector<RowTarget> TargetsOf(RowBuffer* out) {
  std::vector<RowTarget> targets(out->rows.size());
  for (size_t i = 0; i < targets.size(); ++i) {
    targets[i] = {out->values[i],
                  out->popularity[i],
                  &out->rows[i].popularity_total,
                  static_cast<uint32_t>(out->rows[i].dim),
                  out->slots[i],
                  out->slot_totals[i]};
  }
  return targets;
}

namespace {

double InputOf(SlotForm form, float value, double total, double time) {
  constexpr double kSecondsPerDay = 86400;
  switch (form) {
    case SlotForm::kValue:
      return value;
    case SlotForm::kLog1p:
      return NaturalLog(1 + std::max<double>(value, 0));
    case SlotForm::kIif:
      return 1 - ShareOfLog(value, total);
    case SlotForm::kPopularity:
      return ShareOfLog(value, total);
    case SlotForm::kAge: {
      const auto seconds = std::bit_cast<uint32_t>(value);
      if (seconds == 0) return 0;
      return NaturalLog(1 + std::max(time - seconds, 0.0) / kSecondsPerDay);
    }
  }
  return 0;
}

}  // namespace

void FillSlots(const RowBuffer& rows, const SlotInputs& inputs, models::Batch* batch) {
  for (const SlotInputs::Column& column : inputs.columns) {
    size_t t = 0;
    while (rows.rows.at(t).table != column.rows.table) ++t;
    const std::vector<float>& slots = rows.slots[t];
    const std::vector<double>& totals = rows.slot_totals[t];
    const size_t width = slots.size() / static_cast<size_t>(std::max(rows.rows[t].rows, 1));
    const double total = column.counter < totals.size() ? totals[column.counter] : 0;
    for (size_t b = 0; b < column.rows.index.size(); ++b) {
      const auto row = static_cast<size_t>(column.rows.index[b]);
      const double time = inputs.time.empty() ? 0 : inputs.time[b];
      const double input = InputOf(column.form, slots[row * width + column.slot], total, time);
      batch->dense[b * static_cast<size_t>(batch->dense_width) +
                   static_cast<size_t>(column.column)] = static_cast<float>(input);
    }
  }
}

namespace {

class ShardRows final : public RowSource {
 public:
  ShardRows(PsClient& client, std::vector<uint32_t> dims, const DenseLayout& dense, StageId stage,
            Generation generation)
      : client_(client),
        dims_(std::move(dims)),
        dense_(dense),
        stage_(stage),
        generation_(generation) {}

  Status Fetch(const std::vector<TableKeys>& tables, RowBuffer* out) override {
    PrepareRows(tables, dims_, false, out);
    return Pull(tables, TargetsOf(out));
  }

  Status FetchDense(std::span<float> out) override {
    EMPORIUM_CHECK(out.size() == dense_.floats(), "room for all dense parameters");
    RowBuffer rows;
    EMPORIUM_RETURN_IF_ERROR(Fetch(dense_.tables(), &rows));
    for (size_t i = 0; i < dense_.tables().size(); ++i) {
      dense_.RowsToFlat(i, rows.values[i], out);
    }
    return Status::Ok();
  }

 private:
  Status Pull(const std::vector<TableKeys>& tables, const std::vector<RowTarget>& targets) {
    const auto route = client_.route();
    if (route == nullptr) return FailedPrecondition("no route to the shards is known yet");
    std::vector<const TableKeys*> keys;
    keys.reserve(tables.size());
    for (const TableKeys& table : tables) keys.push_back(&table);
    const KeySplit split(*route, std::move(keys));
    const FrameHeader header = AnyVersionPull(client_, *route, stage_, generation_);
    PsCall call;
    call.request_id = header.request_id;
    call.encode = [&header, &split](size_t shard) { return EncodePull(header, split, shard); };
    for (size_t shard = 0; shard < split.shards(); ++shard) {
      call.frames.push_back(call.encode(shard));
    }
    EMPORIUM_ASSIGN_OR_RETURN(const std::vector<runtime::Message> replies,
                              CallAndWait(client_, std::move(call)));
    return DecodePull(split, replies, targets);
  }

  PsClient& client_;
  const std::vector<uint32_t> dims_;
  const DenseLayout& dense_;
  const StageId stage_;
  const Generation generation_;
};

}  // namespace

std::unique_ptr<RowSource> MakeRowSource(PsClient& client, std::vector<uint32_t> dims,
                                         const DenseLayout& dense, StageId stage,
                                         Generation generation) {
  return std::make_unique<ShardRows>(client, std::move(dims), dense, stage, generation);
}

}  // namespace emporium::worker
