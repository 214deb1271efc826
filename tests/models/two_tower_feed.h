// Random two-tower batches and a job that uses every part of the model, for its behaviour tests.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tests/models/feed.h"

namespace emporium::models {

constexpr int32_t kItems = 12;
constexpr int32_t kDim = 8;

inline const std::string kTwoTowerData = R"(
  name: "behaviour"
  table { name: "item" dim: 8 popularity {} } table { name: "word" dim: 8 }
  table { name: "action" dim: 8 } table { name: "module" dim: 8 }
  data { history { max_length: 20 } }
  feature { name: "item" column: "i" table: "item" source: ITEM }
  feature { name: "title" column: "t" table: "word" source: ITEM }
  feature { name: "kind" column: "k" table: "action" source: HISTORY }
  feature { name: "query" column: "q" table: "word" source: HISTORY }
  feature { name: "module" column: "m" table: "module" }
)";

inline const std::string kTransformer =
    "action_feature: \"kind\" query_feature: \"query\" user_tower { transformer { layers: 2 heads: "
    "2 "
    "width: 8 feed_forward: 16 dropout: 0 gap_edges_days: [1, 5] } }";
inline const std::string kAgePooling =
    "user_tower { age_pooling { age_edges_days: [2, 8] max_count: 2 } }";

// A job with two train stages: 0 sampled softmax, 1 ranking.
inline spec::Job TwoTowerJob(const std::string& model, const std::string& ranking = "") {
  return ParseJob(
      kTwoTowerData + "model { two_tower { item_feature: \"item\" title_feature: \"title\" " +
      model +
      "} } stage { name: \"pre\" train { sampled_softmax { negatives { uniform {} } } } }"
      "stage { name: \"fine\" train { ranking { " +
      ranking + " } } }");
}

inline Feed TwoTowerFeed(const spec::Job& job, Device& device = Cpu()) {
  Feed feed(job, device);
  feed.AddRandomTable(kItems, kDim, 21);
  feed.AddRandomTable(6, kDim, 22);
  feed.AddRandomTable(3, kDim, 23);
  feed.AddRandomTable(4, kDim, 24);
  return feed;
}

// Appends the history of one sample: items, -1 for a search event with one word.
inline void AddHistory(Batch& batch, Random& random, const std::vector<int32_t>& items) {
  HistoryColumns& h = batch.history;
  if (h.offset.empty()) {
    h.offset = {0};
    h.action = Singles(2, {});
    h.query = Lists(1, {}, {0});
  }
  for (int32_t item : items) {
    h.item.push_back(item);
    h.action.index.push_back(static_cast<int32_t>(random.Next() % 3));
    h.action.offset.push_back(static_cast<int32_t>(h.action.index.size()));
    if (item < 0) h.query.index.push_back(static_cast<int32_t>(random.Next() % 6));
    h.query.offset.push_back(static_cast<int32_t>(h.query.index.size()));
    h.age_days.push_back(10 * random.Uniform());
    h.count.push_back(1 + static_cast<int32_t>(random.Next() % 4));
  }
  h.offset.push_back(static_cast<int32_t>(h.item.size()));
  ++batch.samples;
}

// The catalogue as items and candidates, `lengths.size()` samples with one positive and one ranking
// group each.
inline Batch TwoTowerBatch(const std::vector<int32_t>& lengths, uint64_t seed, int32_t counters,
                           bool searches) {
  Random random(seed);
  Batch batch;
  std::vector<int32_t> all;
  for (int32_t i = 0; i < kItems; ++i) all.push_back(i);
  batch.items.count = kItems;
  batch.items.id = Singles(0, all);
  batch.items.title = Lists(1, {}, {0});
  for (int32_t i = 0; i < kItems; ++i) {
    for (int32_t k = 0; k < i % 3; ++k) {
      batch.items.title.index.push_back(static_cast<int32_t>(random.Next() % 6));
    }
    batch.items.title.offset.push_back(static_cast<int32_t>(batch.items.title.index.size()));
  }
  CandidateColumns& c = batch.candidates;
  c.item = all;
  c.sampled.assign(kItems, 1);
  c.log_q.assign(kItems, -0.5f);
  c.drawn = 8;
  c.positive_offset = c.group_offset = {0};
  std::vector<int32_t> modules;
  for (int32_t length : lengths) {
    std::vector<int32_t> items;
    for (int32_t k = 0; k < length; ++k) {
      const bool search = searches && random.Uniform() < 0.3f;
      items.push_back(search ? -1 : static_cast<int32_t>(random.Next() % kItems));
    }
    AddHistory(batch, random, items);
    c.positive.push_back(static_cast<int32_t>(random.Next() % kItems));
    c.positive_offset.push_back(static_cast<int32_t>(c.positive.size()));
    for (int32_t k = 0; k < 3; ++k) {
      c.group.push_back(static_cast<int32_t>(random.Next() % kItems));
      c.group_label.push_back(k == 0 ? 1 : 0);
    }
    c.group_offset.push_back(static_cast<int32_t>(c.group.size()));
    modules.push_back(static_cast<int32_t>(random.Next() % 4));
  }
  batch.fields.push_back({"module", Singles(3, modules)});
  for (size_t i = 0; i < lengths.size() * kItems * counters; ++i) {
    c.log_counts.push_back(3 * random.Uniform());
  }
  return batch;
}

}  // namespace emporium::models
