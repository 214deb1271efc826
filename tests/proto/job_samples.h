// Two valid job files and a way to break them, for the tests of proto/job_file.h.
#pragma once

#include <string>
#include <vector>

#include "proto/job_file.h"

namespace emporium::testing {

// One field a line, so that a test can name a line by its text.
inline std::string TwoTowerJob() {
  return R"(name: "shop"
table {
  name: "item"
  dim: 16
  optimizer { adagrad {} }
  popularity {}
}
table {
  name: "word"
  dim: 16
  optimizer { rowwise_adagrad { learning_rate: 0.05 } }
}
dense { name: "rest" optimizer { adamw {} } }
data {
  events {
    file: "events.csv"
    column { name: "user" }
    column { name: "item" }
    column { name: "time" type: INT }
    column { name: "action" }
    column { name: "query" type: TEXT }
    column { name: "price" type: FLOAT }
  }
  items {
    file: "items.csv"
    column { name: "id" }
    column { name: "title" type: TEXT }
  }
  user_column: "user"
  item_column: "item"
  time_column: "time"
  items_key_column: "id"
  items_title_column: "title"
  split { last_days { test_days: 30 validation_days: 30 } }
  history { max_length: 50 }
}
feature { name: "id" column: "item" table: "item" }
feature { name: "title" column: "title" table: "word" source: ITEM }
feature { name: "action" column: "action" table: "item" source: HISTORY }
feature { name: "words" column: "query" table: "word" source: HISTORY }
feature { name: "context" column: "action" table: "word" salt: 1 }
feature { name: "price" column: "price" }
model {
  two_tower {
    item_feature: "id"
    title_feature: "title"
    action_feature: "action"
    query_feature: "words"
    user_tower { transformer { width: 16 heads: 2 gap_edges_days: [1, 7, 30] } }
    context { feature: "context" }
    popularity { counter { window_days: 30 } counter { half_life_days: 7 } }
  }
}
stage {
  name: "pretrain"
  train {
    sampled_softmax { negatives { in_batch {} } negatives { uniform { count: 64 } } }
    validate_every_epochs: 1
    early_stop { metric: "ndcg@10" }
  }
}
stage {
  name: "finetune"
  train {
    ranking { negatives { unigram { count: 8 } } }
  }
}
stage { name: "test" evaluate { k: 10 slice_column: "action" } }
stage { name: "export" export {} }
cluster { partitions: 1024 }
)";
}

inline std::string DeepFmJob() {
  return R"(name: "clicks"
table {
  name: "wide"
  dim: 1
  optimizer { ftrl {} }
}
table {
  name: "deep"
  dim: 8
  optimizer { adam {} }
}
data {
  events {
    file: "clicks.csv"
    column { name: "ad" }
    column { name: "bid" type: FLOAT }
    column { name: "click" type: INT }
  }
  label_column: "click"
  split { files { test_file: "later.csv" } }
}
feature { name: "ad" column: "ad" table: "deep" }
feature { name: "bid" column: "bid" }
model {
  deepfm {
    linear_table: "wide"
    hidden: [32, 16]
  }
}
stage {
  name: "train"
  train {
    pointwise {}
  }
}
stage { name: "test" evaluate {} }
)";
}

// `text` with the first `from` replaced. Fails loudly when `from` does not occur.
inline std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EMPORIUM_CHECK(at != std::string::npos, from.c_str());
  return text.replace(at, from.size(), to);
}

inline std::vector<std::string> ComplaintsOf(const std::string& text) {
  std::vector<Complaint> complaints;
  const Result<spec::Job> job = ParseJob(text, "job", &complaints);
  EMPORIUM_CHECK(job.ok() == complaints.empty(), "a job is refused exactly when it has faults");
  std::vector<std::string> lines;
  for (const Complaint& complaint : complaints) {
    lines.push_back(complaint.ToString());
  }
  return lines;
}

}  // namespace emporium::testing
