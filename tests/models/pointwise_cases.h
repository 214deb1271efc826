// The cases of tests/reference/pointwise.py as jobs and batches: models that score samples.
#pragma once

#include <string>
#include <vector>

#include "tests/models/feed.h"
#include "tests/models/tensor_file.h"

namespace emporium::models {

struct PointwiseCase {
  std::string name;        // in the tensor file
  std::string model;       // of the job
  bool dense = true;       // two dense inputs
  std::string tasks = {};  // of the job
  std::string loss = {};   // options of pointwise {}
};

inline std::string CaseName(const testing::TestParamInfo<PointwiseCase>& info) {
  return info.param.name;
}

// Tables in the order of the job.
inline std::vector<std::string> TablesOf(const TensorFile& file, const PointwiseCase& c) {
  std::vector<std::string> tables = {"a", "b", "words"};
  for (const char* table : {"linear", "device"}) {
    if (file.has(c.name + "/rows/" + table)) tables.push_back(table);
  }
  return tables;
}

inline spec::Job JobOf(const TensorFile& file, const PointwiseCase& c) {
  std::string text = "name: \"reference\" ";
  for (const std::string& table : TablesOf(file, c)) {
    text += "table { name: \"" + table +
            "\" dim: " + std::to_string(file.at(c.name + "/rows/" + table).shape[1]) + " } ";
  }
  text += R"(
    feature { name: "f0" column: "f0" table: "a" } feature { name: "f1" column: "f1" table: "a" }
    feature { name: "f2" column: "f2" table: "b" }
    feature { name: "f3" column: "f3" table: "words" })";
  if (c.dense) text += R"( feature { name: "x" column: "x" } feature { name: "y" column: "y" })";
  return ParseJob(text + c.tasks + " model { " + c.model +
                  " } stage { name: \"train\" train { pointwise { " + c.loss + " } } }");
}

inline Batch BatchOf(const TensorFile& file, const PointwiseCase& c) {
  const std::string p = c.name + "/batch/";
  Batch batch;
  batch.label = file.floats(p + "label");
  batch.samples = static_cast<int32_t>(file.at(p + "label").shape[1]);
  batch.weight = file.floats(p + "weight");
  if (file.has(p + "scenario")) batch.scenario = file.ints(p + "scenario");
  batch.dense = file.floats(p + "dense");
  batch.dense_width = c.dense ? 2 : 0;
  constexpr int kTableOf[] = {0, 0, 1, 2};
  for (int f = 0; f < 4; ++f) {
    const std::string name = "f" + std::to_string(f);
    batch.fields.push_back({name, Lists(kTableOf[f], file.ints(p + "field." + name + ".index"),
                                        file.ints(p + "field." + name + ".offset"))});
  }
  if (!file.has(c.name + "/rows/linear")) return batch;
  const auto rows = [&](const char* table) {
    return static_cast<int32_t>(file.at(c.name + "/rows/" + table).shape[0]);
  };
  const int32_t start[] = {0, 0, rows("a"), rows("a") + rows("b")};
  for (int f = 0; f < 4; ++f) {
    FieldColumn column = batch.fields[f];
    column.rows.table = TableId(3);
    for (int32_t& row : column.rows.index) row += start[f];
    batch.fields.push_back(column);
  }
  return batch;
}

// A model with the file's rows and dense parameters.
inline Feed FeedOf(const TensorFile& file, const std::string& name, const spec::Job& job,
                   const std::vector<std::string>& tables) {
  Feed feed(job);
  for (const std::string& table : tables) {
    const NamedTensor& rows = file.at(name + "/rows/" + table);
    feed.AddTable(static_cast<int32_t>(rows.shape[1]), rows.values);
  }
  EXPECT_EQ(file.names(name + "/dense/").size(), feed.model->parameters().size());
  for (const DenseParameter& parameter : feed.model->parameters()) {
    const NamedTensor& values = file.at(name + "/dense/" + parameter.name);
    EXPECT_EQ(values.shape, parameter.shape) << parameter.name;
    std::copy(values.values.begin(), values.values.end(),
              feed.dense.begin() + feed.offsets[parameter.name]);
  }
  return feed;
}
inline Feed FeedOf(const TensorFile& file, const PointwiseCase& c) {
  return FeedOf(file, c.name, JobOf(file, c), TablesOf(file, c));
}

// The given samples, in that order; one may come several times.
inline Batch Selected(const Batch& batch, const std::vector<int32_t>& samples) {
  Batch some;
  some.samples = static_cast<int32_t>(samples.size());
  for (size_t task = 0; task < batch.label.size(); task += static_cast<size_t>(batch.samples)) {
    for (int32_t b : samples) some.label.push_back(batch.label[task + static_cast<size_t>(b)]);
  }
  some.dense_width = batch.dense_width;
  for (int32_t b : samples) {
    if (!batch.scenario.empty()) some.scenario.push_back(batch.scenario[static_cast<size_t>(b)]);
    if (!batch.place.empty()) some.place.push_back(batch.place[static_cast<size_t>(b)]);
    const auto dense = batch.dense.begin() + static_cast<int64_t>(b) * batch.dense_width;
    some.dense.insert(some.dense.end(), dense, dense + batch.dense_width);
  }
  for (const FieldColumn& field : batch.fields) {
    const auto& [table, index, offset] = field.rows;
    std::vector<int32_t> indices;
    std::vector<int32_t> offsets{0};
    for (int32_t b : samples) {
      indices.insert(indices.end(), index.begin() + offset[b], index.begin() + offset[b + 1]);
      offsets.push_back(static_cast<int32_t>(indices.size()));
    }
    some.fields.push_back({field.feature, Lists(table.value(), indices, offsets)});
  }
  return some;
}

// Sample b alone.
inline Batch Alone(const Batch& batch, int32_t b) { return Selected(batch, {b}); }

// Loss terms and gradients of a training step that was made from the file's state.
inline void ExpectStepAsInFile(const Feed& feed, const std::map<std::string, double>& terms,
                               const TensorFile& file, const std::string& name,
                               const std::vector<std::string>& tables) {
  EXPECT_EQ(terms.size(), file.names(name + "/loss/").size());
  for (const auto& [term, value] : terms) {
    EXPECT_NEAR(value, file.floats(name + "/loss/" + term)[0], 2e-6) << term;
  }
  for (const DenseParameter& parameter : feed.model->parameters()) {
    const auto begin = feed.dense_gradient.begin() + feed.offsets.at(parameter.name);
    ExpectNear(std::vector<float>(begin, begin + parameter.size),
               file.floats(name + "/dense_gradient/" + parameter.name), 1e-5, parameter.name);
  }
  for (size_t t = 0; t < tables.size(); ++t) {
    ExpectNear(feed.tables[t].gradient, file.floats(name + "/row_gradient/" + tables[t]), 1e-5,
               tables[t]);
  }
}

// The same with scores.
inline void ExpectAsInFile(const TensorFile& file, const std::string& name, const spec::Job& job,
                           const std::vector<std::string>& tables, const Batch& batch) {
  Feed feed = FeedOf(file, name, job, tables);
  const auto terms = feed.Train(batch, job.stage(0).train());
  ExpectStepAsInFile(feed, terms, file, name, tables);
  ExpectNear(feed.Score(batch), file.floats(name + "/logits"), 1e-5, "logits");
}
inline void ExpectAsInFile(const TensorFile& file, const PointwiseCase& c) {
  ExpectAsInFile(file, c.name, JobOf(file, c), TablesOf(file, c), BatchOf(file, c));
}

}  // namespace emporium::models
