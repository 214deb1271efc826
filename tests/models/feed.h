// Feeds a model in tests: owns the rows, the dense parameters and their gradients.
#pragma once

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/batch.h"
#include "models/model.h"
#include "models/random.h"

namespace emporium::models {

inline spec::Job ParseJob(const std::string& text) {
  spec::Job job;
  EMPORIUM_CHECK(google::protobuf::TextFormat::ParseFromString(text, &job), text.c_str());
  return job;
}

inline RowLists Lists(int table, std::vector<int32_t> index, std::vector<int32_t> offset) {
  return {TableId(static_cast<uint16_t>(table)), std::move(index), std::move(offset)};
}

// One row each.
inline RowLists Singles(int table, std::vector<int32_t> index) {
  std::vector<int32_t> offset;
  for (size_t i = 0; i <= index.size(); ++i) offset.push_back(static_cast<int32_t>(i));
  return Lists(table, std::move(index), std::move(offset));
}

class Feed {
 public:
  struct Table {
    int32_t dim = 0;
    std::vector<float> values;
    std::vector<float> gradient;
    std::vector<float> popularity;
    double popularity_total = 0;
    int32_t slot_width = 0;
    std::vector<float> slots;
    std::vector<float> observed;  // by Train
    std::vector<uint32_t> observed_mask;
  };

  explicit Feed(const spec::Job& job, Device& device = Cpu()) {
    ConfigureLibTorch();
    auto created = CreateModel(job, device);
    EMPORIUM_CHECK(created.ok(), created.status().message().c_str());
    model = std::move(created).value();
    int64_t total = 0;
    for (const DenseParameter& parameter : model->parameters()) {
      offsets[parameter.name] = total;
      total += parameter.size;
    }
    dense.resize(static_cast<size_t>(total));
    dense_gradient.assign(dense.size(), NAN);
    model->Initialize(job.seed(), dense);
  }

  void AddTable(int32_t dim, std::vector<float> values) {
    Table table;
    table.dim = dim;
    table.gradient.assign(values.size(), NAN);
    table.values = std::move(values);
    tables.push_back(std::move(table));
  }
  void AddRandomTable(int32_t rows, int32_t dim, uint64_t seed) {
    Random random(seed);
    std::vector<float> values(static_cast<size_t>(rows) * dim);
    for (float& x : values) x = 0.3f * random.Normal();
    AddTable(dim, std::move(values));
  }

  RowSet rows() {
    RowSet set;
    for (size_t t = 0; t < tables.size(); ++t) {
      TableRows rows;
      rows.table = TableId(static_cast<uint16_t>(t));
      rows.dim = tables[t].dim;
      rows.rows = static_cast<int32_t>(tables[t].values.size()) / tables[t].dim;
      rows.values = tables[t].values.data();
      rows.gradient = tables[t].gradient.data();
      if (!tables[t].popularity.empty()) rows.popularity = tables[t].popularity.data();
      rows.popularity_total = tables[t].popularity_total;
      if (tables[t].slot_width > 0) {
        tables[t].observed.assign(tables[t].slots.size(), 0);
        tables[t].observed_mask.assign(static_cast<size_t>(rows.rows), 0);
        rows.slot_width = tables[t].slot_width;
        rows.slots = tables[t].slots.data();
        rows.observed = tables[t].observed.data();
        rows.observed_mask = tables[t].observed_mask.data();
      }
      set.push_back(rows);
    }
    return set;
  }

  // The loss terms by name.
  std::map<std::string, double> Train(const Batch& batch, const spec::Train& train,
                                      uint64_t seed = 1) {
    auto result = model->Train(batch, rows(), {dense, dense_gradient}, train, seed);
    EXPECT_TRUE(result.ok()) << result.status().ToString();
    std::map<std::string, double> terms;
    if (!result.ok()) return terms;
    for (const LossTerm& term : *result) terms[term.name] = term.value;
    return terms;
  }
  // w -= rate * gradient, for everything.
  void Descend(float rate) {
    for (size_t i = 0; i < dense.size(); ++i) dense[i] -= rate * dense_gradient[i];
    for (Table& table : tables) {
      for (size_t i = 0; i < table.values.size(); ++i) table.values[i] -= rate * table.gradient[i];
    }
  }
  std::vector<float> UserVectors(const Batch& batch) {
    std::vector<float> out(static_cast<size_t>(batch.samples) * model->needs().vector_width);
    const Status status = model->UserVectors(batch, rows(), {dense, {}}, out);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return out;
  }
  std::vector<float> ItemVectors(const Batch& batch, const std::vector<float>& log_counts = {}) {
    std::vector<float> out(static_cast<size_t>(batch.items.count) * model->needs().vector_width);
    const Status status = model->ItemVectors(batch, rows(), {dense, {}}, log_counts, out);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return out;
  }
  std::vector<float> Score(const Batch& batch) {
    const size_t tasks = model->needs().tasks.size();
    std::vector<float> out(tasks * static_cast<size_t>(batch.samples));
    const Status status = model->Score(batch, rows(), {dense, {}}, out);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return out;
  }
  // A step of Adam for the dense parameters, without the correction of the start.
  void DescendByAdam(float rate) {
    moments.resize(2 * dense.size());
    for (size_t i = 0; i < dense.size(); ++i) {
      const float g = dense_gradient[i];
      float& mean = moments[2 * i];
      float& square = moments[2 * i + 1];
      mean += 0.1f * (g - mean);
      square += 0.01f * (g * g - square);
      dense[i] -= rate * mean / (std::sqrt(square) + 1e-8f);
    }
  }
  // All gradients, dense first.
  std::vector<float> Gradients() const {
    std::vector<float> all = dense_gradient;
    for (const Table& t : tables) all.insert(all.end(), t.gradient.begin(), t.gradient.end());
    return all;
  }

  std::unique_ptr<Model> model;
  std::vector<Table> tables;
  std::vector<float> dense;
  std::vector<float> dense_gradient;
  std::vector<float> moments;
  std::map<std::string, int64_t> offsets;
};

inline void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected,
                       double tolerance, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double slack = tolerance * (1 + std::abs(static_cast<double>(expected[i])));
    ASSERT_NEAR(actual[i], expected[i], slack) << what << "[" << i << "]";
  }
}

}  // namespace emporium::models
