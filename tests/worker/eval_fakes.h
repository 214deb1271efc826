// A data set in memory, with a batch source, rows and a model over it that are as simple as the
// interfaces allow: an item's vector is its row, a user's vector the sum of his past items' rows, a
// sample's logit the sum of the first weights of its rows; counters, where there are any, are
// summed. For tests of evaluation and export.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "models/model.h"
#include "worker/batch_source.h"
#include "worker/counter_cursor.h"
#include "worker/dataset.h"
#include "worker/row_source.h"

namespace emporium::worker {

struct FakeEvent {
  std::string user;
  std::string item;  // empty: a search event
  double time = 0;
};

class FakeDataset : public Dataset {
 public:
  // Events in order of time.
  explicit FakeDataset(const std::vector<FakeEvent>& events) {
    for (const FakeEvent& e : events) {
      const int32_t user = Number(e.user, &user_number_, &user_id_);
      const int32_t item = e.item.empty() ? -1 : Number(e.item, &item_number_, &item_id_);
      of_user_.resize(user_id_.size());
      of_item_.resize(item_id_.size());
      const auto position = static_cast<int32_t>(user_.size());
      of_user_[user].push_back(position);
      if (item >= 0) of_item_[item].push_back(position);
      user_.push_back(user);
      item_.push_back(item);
      time_.push_back(e.time);
    }
  }

  const std::string& digest() const override { return digest_; }
  int64_t events() const override { return static_cast<int64_t>(user_.size()); }
  Result<ColumnView> event_column(const std::string& name) const override { return NotFound(name); }
  Result<ColumnView> item_column(const std::string& name) const override { return NotFound(name); }
  std::string_view text(const std::string& column, int32_t code) const override {
    return texts.at(column).at(code);
  }
  int32_t users() const override { return static_cast<int32_t>(user_id_.size()); }
  int32_t items() const override { return static_cast<int32_t>(item_id_.size()); }
  std::string_view user_id(int32_t user) const override { return user_id_[user]; }
  std::string_view item_id(int32_t item) const override { return item_id_[item]; }
  std::string_view item_title(int32_t item) const override {
    return titles.count(item) ? std::string_view(titles.at(item)) : std::string_view();
  }
  int32_t FindUser(std::string_view id) const override { return Find(user_number_, id); }
  int32_t FindItem(std::string_view id) const override { return Find(item_number_, id); }
  std::span<const int32_t> event_user() const override { return user_; }
  std::span<const int32_t> event_item() const override { return item_; }
  std::span<const double> event_time() const override { return time_; }
  std::span<const int32_t> events_of_user(int32_t user) const override { return of_user_[user]; }
  std::span<const int32_t> events_of_item(int32_t item) const override { return of_item_[item]; }
  std::pair<int64_t, int64_t> train_range() const override { return {0, test_begin}; }
  std::pair<int64_t, int64_t> validation_range() const override { return {test_begin, test_begin}; }
  std::pair<int64_t, int64_t> test_range() const override { return {test_begin, events()}; }
  std::string OriginOf(std::span<const int64_t>) const override { return {}; }

  std::map<std::string, std::vector<std::string>> texts;
  std::map<int32_t, std::string> titles;
  int64_t test_begin = 0;

 private:
  using Numbers = std::map<std::string, int32_t, std::less<>>;
  static int32_t Number(const std::string& id, Numbers* numbers, std::vector<std::string>* ids) {
    const auto [it, is_new] = numbers->try_emplace(id, static_cast<int32_t>(ids->size()));
    if (is_new) ids->push_back(id);
    return it->second;
  }
  static int32_t Find(const Numbers& numbers, std::string_view id) {
    const auto it = numbers.find(id);
    return it == numbers.end() ? -1 : it->second;
  }

  std::string digest_ = "fake";
  Numbers user_number_, item_number_;
  std::vector<std::string> user_id_, item_id_;
  std::vector<int32_t> user_, item_;
  std::vector<double> time_;
  std::vector<std::vector<int32_t>> of_user_, of_item_;
};

// Leave-one-out retrieval over a FakeDataset, or the pointwise rows that a test sets.
class FakeSource : public BatchSource {
 public:
  FakeSource(const FakeDataset& data, int32_t chunk) : data_(data), chunk_(chunk) {}

  struct Row {
    uint64_t key;
    float label;
    int32_t slice;
  };
  std::vector<Row> rows;               // pointwise when not empty
  std::vector<int32_t> slice_of_user;  // retrieval slices when not empty
  bool mask_past = true;
  int32_t ranked = 0;  // items from the user's number on that each user's targets are ranked among

  const Dataset& dataset() const override { return data_; }
  StagePlan plan(StageId) const override { return {}; }
  Result<PlannedBatch> Train(StageId, Step, MicroBatch) const override {
    return Unimplemented("not here");
  }
  std::string OriginOf(StageId, Step, MicroBatch) const override { return {}; }
  int64_t EvalChunks(StageId, EvalSplit) const override {
    return rows.empty() ? UserChunks() : Chunks(static_cast<int64_t>(rows.size()));
  }
  Result<EvalBatch> Eval(StageId, EvalSplit split, int64_t chunk) const override {
    EvalBatch out;
    if (!rows.empty()) {
      Pointwise(chunk, &out);
      return out;
    }
    const size_t held_out = split == EvalSplit::kTest ? 1 : 2;
    out.target_offset = {0};
    out.masked_offset = {0};
    if (!slice_of_user.empty()) out.slice.resize(1);
    if (ranked > 0) out.ranked_offset = {0};
    const auto [begin, end] = Range(chunk, data_.users());
    for (int32_t u = begin; u < end; ++u) {
      const auto events = data_.events_of_user(u);
      out.user.push_back(u);
      if (events.size() > held_out) {
        out.target.push_back(data_.event_item()[events[events.size() - held_out]]);
      }
      out.target_offset.push_back(static_cast<int32_t>(out.target.size()));
      if (mask_past) {
        for (const int32_t item : Past(u, held_out)) out.masked.push_back(item);
      }
      out.masked_offset.push_back(static_cast<int32_t>(out.masked.size()));
      if (ranked > 0) {
        for (int32_t i = 0; i < ranked; ++i) out.ranked_item.push_back((u + i) % data_.items());
        out.ranked_offset.push_back(static_cast<int32_t>(out.ranked_item.size()));
      }
      if (!slice_of_user.empty()) out.slice[0].push_back(slice_of_user[u]);
    }
    out.planned = UserBatch(begin, end, held_out);
    return out;
  }
  int64_t ItemChunks() const override { return Chunks(data_.items()); }
  Result<ItemBatch> Items(int64_t chunk, AsOf) const override {
    const auto [begin, end] = Range(chunk, data_.items());
    ItemBatch out;
    out.first_item = begin;
    for (int32_t i = begin; i < end; ++i) AddItem(i, &out.planned);
    return out;
  }
  std::unique_ptr<CounterCursor> Counters() const override { return nullptr; }
  int64_t UserChunks() const override { return Chunks(data_.users()); }
  Result<PlannedBatch> Users(int64_t chunk, AsOf, std::vector<int32_t>* user_ids) const override {
    const auto [begin, end] = Range(chunk, data_.users());
    user_ids->clear();
    for (int32_t u = begin; u < end; ++u) user_ids->push_back(u);
    return UserBatch(begin, end, 0);
  }

 private:
  int64_t Chunks(int64_t n) const { return (n + chunk_ - 1) / chunk_; }
  std::pair<int32_t, int32_t> Range(int64_t chunk, int32_t n) const {
    const auto begin = static_cast<int32_t>(chunk * chunk_);
    return {begin, std::min(begin + chunk_, n)};
  }
  std::set<int32_t> Past(int32_t user, size_t held_out) const {
    const auto events = data_.events_of_user(user);
    std::set<int32_t> past;
    for (size_t e = 0; e + held_out < events.size(); ++e) {
      if (data_.event_item()[events[e]] >= 0) past.insert(data_.event_item()[events[e]]);
    }
    return past;
  }
  static int32_t AddItem(int32_t item, PlannedBatch* out) {
    if (out->tables.empty()) out->tables.resize(1);
    models::ItemColumns& items = out->batch.items;
    if (items.id.offset.empty()) items.id.offset = {0};
    out->tables[0].keys.push_back(static_cast<uint64_t>(item));
    items.id.index.push_back(items.count);
    items.id.offset.push_back(++items.count);
    return items.count - 1;
  }
  PlannedBatch UserBatch(int32_t begin, int32_t end, size_t held_out) const {
    PlannedBatch out;
    out.tables.resize(1);
    out.batch.samples = end - begin;
    out.batch.history.offset = {0};
    for (int32_t u = begin; u < end; ++u) {
      for (const int32_t item : Past(u, held_out)) {
        out.batch.history.item.push_back(AddItem(item, &out));
      }
      out.batch.history.offset.push_back(static_cast<int32_t>(out.batch.history.item.size()));
    }
    return out;
  }
  void Pointwise(int64_t chunk, EvalBatch* out) const {
    const auto [begin, end] = Range(chunk, static_cast<int32_t>(rows.size()));
    models::Batch& batch = out->planned.batch;
    out->planned.tables.resize(1);
    out->slice.resize(1);
    batch.samples = end - begin;
    batch.fields.resize(1);
    batch.fields[0].rows.offset = {0};
    for (int32_t r = begin; r < end; ++r) {
      out->planned.tables[0].keys.push_back(rows[r].key);
      batch.fields[0].rows.index.push_back(r - begin);
      batch.fields[0].rows.offset.push_back(r - begin + 1);
      batch.label.push_back(rows[r].label);
      out->slice[0].push_back(rows[r].slice);
    }
  }

  const FakeDataset& data_;
  int32_t chunk_;
};

// Rows as a function of the key.
class FakeRows : public RowSource {
 public:
  explicit FakeRows(int32_t dim) : dim_(dim) {}
  float shift = 0;  // added to every weight, as training would change them
  float scale = 1;  // times every weight

  std::vector<float> Row(uint64_t key) const {
    std::vector<float> row(dim_);
    for (int32_t d = 0; d < dim_; ++d) {
      row[d] = scale * (std::sin(static_cast<float>(key * 7 + 3 * d + 1)) + shift);
    }
    return row;
  }
  Status Fetch(const std::vector<TableKeys>& tables, RowBuffer* out) override {
    *out = {};
    for (const TableKeys& t : tables) {
      UnclearedVector<float>& values = out->values.emplace_back();
      for (const uint64_t key : t.keys) {
        const std::vector<float> row = Row(key);
        values.insert(values.end(), row.begin(), row.end());
      }
    }
    for (size_t t = 0; t < tables.size(); ++t) {
      models::TableRows rows;
      rows.table = tables[t].table;
      rows.rows = static_cast<int32_t>(tables[t].keys.size());
      rows.dim = dim_;
      rows.values = out->values[t].data();
      out->rows.push_back(rows);
    }
    return Status::Ok();
  }
  Status FetchDense(std::span<float> out) override {
    std::fill(out.begin(), out.end(), 1.0f);
    return Status::Ok();
  }

 private:
  int32_t dim_;
};

class FakeModel : public models::Model {
 public:
  // width 0: pointwise. With counters one number of the width is theirs.
  explicit FakeModel(int32_t width, int32_t counters = 0) {
    needs_.vector_width = width;
    needs_.counters = counters;
    if (width == 0) needs_.tasks.emplace_back();
  }

  const std::vector<models::DenseParameter>& parameters() const override { return parameters_; }
  const models::Needs& needs() const override { return needs_; }
  void Initialize(uint64_t, std::span<float>) const override {}
  Result<std::vector<models::LossTerm>> Train(const models::Batch&, const models::RowSet&,
                                              const models::DenseSet&, const spec::Train&,
                                              uint64_t) override {
    return Unimplemented("not here");
  }
  Status Score(const models::Batch& batch, const models::RowSet& rows,
               const models::DenseSet& dense, std::span<float> logits) override {
    for (int32_t b = 0; b < batch.samples; ++b) {
      const int32_t row = batch.fields[0].rows.index[b];
      logits[b] = dense.values[0] * rows[0].values[static_cast<size_t>(row) * rows[0].dim];
    }
    return Status::Ok();
  }
  Status ItemVectors(const models::Batch& batch, const models::RowSet& rows,
                     const models::DenseSet& dense, std::span<const float> log_counts,
                     std::span<float> vectors) override {
    const int32_t width = needs_.vector_width;
    std::vector<float> popularity(static_cast<size_t>(batch.items.count));
    EMPORIUM_RETURN_IF_ERROR(PopularityLogits(dense, log_counts, popularity));
    for (int32_t i = 0; i < batch.items.count; ++i) {
      const float* row = rows[0].values + batch.items.id.index[i] * RowWidth();
      std::copy_n(row, RowWidth(), &vectors[static_cast<size_t>(i) * width]);
      if (needs_.counters > 0) vectors[static_cast<size_t>(i + 1) * width - 1] = popularity[i];
    }
    return Status::Ok();
  }
  Status UserVectors(const models::Batch& batch, const models::RowSet& rows,
                     const models::DenseSet&, std::span<float> vectors) override {
    std::fill(vectors.begin(), vectors.end(), 0.0f);
    const int32_t width = needs_.vector_width;
    for (int32_t b = 0; b < batch.samples; ++b) {
      float* user = &vectors[static_cast<size_t>(b) * width];
      for (int32_t e = batch.history.offset[b]; e < batch.history.offset[b + 1]; ++e) {
        const int32_t row = batch.items.id.index[batch.history.item[e]];
        for (int32_t d = 0; d < RowWidth(); ++d) user[d] += rows[0].values[row * RowWidth() + d];
      }
      if (needs_.counters > 0) user[width - 1] = 1;
    }
    return Status::Ok();
  }
  Status PopularityLogits(const models::DenseSet&, std::span<const float> log_counts,
                          std::span<float> logits) override {
    for (size_t i = 0; i < logits.size(); ++i) {
      logits[i] = 0;
      for (int32_t k = 0; k < needs_.counters; ++k) {
        logits[i] += log_counts[i * needs_.counters + k];
      }
    }
    return Status::Ok();
  }

 private:
  int32_t RowWidth() const { return needs_.vector_width - (needs_.counters > 0 ? 1 : 0); }

  models::Needs needs_;
  std::vector<models::DenseParameter> parameters_ = {{"scale", {1}, 1, false}};
};

}  // namespace emporium::worker
