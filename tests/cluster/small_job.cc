#include "tests/cluster/small_job.h"

#include <gtest/gtest.h>

#include "runtime/manifest.h"
#include "worker/synthetic.h"

namespace emporium::cluster {
namespace {

constexpr const char* kJob = R"(
name: "small"
seed: 7
table {
  name: "item" dim: 16
  optimizer { adamw { learning_rate: 0.003 } }
  initializer { normal { stddev: 0.1 } }
  popularity { half_life_days: 20 bytes: 1 }
  expiry { every_steps: 9 untouched_steps: 20 }
}
table {
  name: "word" dim: 16
  optimizer { rowwise_adagrad { learning_rate: 0.05 } }
  popularity { half_life_steps: 50 bytes: 2 }
  admission { sightings: 3 sketch_mib: 1 }
}
data {
  events {
    file: "events.csv"
    column { name: "time" type: INT }
    column { name: "user" }
    column { name: "item" }
    column { name: "action" }
    column { name: "query" type: TEXT }
  }
  items {
    file: "items.csv"
    column { name: "item" }
    column { name: "title" type: TEXT }
  }
  user_column: "user" item_column: "item" time_column: "time"
  items_key_column: "item" items_title_column: "title"
  split { last_days { test_days: 7 validation_days: 4 } }
  history { max_length: 12 }
}
feature { name: "item" column: "item" table: "item" source: ITEM }
feature { name: "title" column: "title" table: "word" source: ITEM }
feature { name: "action" column: "action" table: "word" source: HISTORY salt: 1 }
feature { name: "query" column: "query" table: "word" source: HISTORY }
feature { name: "module" column: "action" table: "word" source: ROW salt: 2 }
model {
  two_tower {
    item_feature: "item" title_feature: "title" action_feature: "action" query_feature: "query"
    user_tower {
      transformer { layers: 2 heads: 2 width: 16 feed_forward: 32 dropout: 0.1 gap_edges_days: [0.1, 1] }
      history_dropout: 0.2
    }
    item_tower { residual { blocks: 1 multiple: 2 } }
    context { feature: "module" hidden: 4 }
    popularity { counter { window_days: 7 } }
  }
}
checkpoint { every_steps: EVERY }
stage {
  name: "pretrain"
  train {
    sampled_softmax { negatives { in_batch {} } negatives { uniform { count: 16 } } }
    epochs: EPOCHS micro_batch_size: 32 micro_batches_per_step: 4 MORE
    learning_rate { warm_up_steps: 5 schedule: COSINE }
    validate_every_epochs: 1
  }
}
stage {
  name: "finetune"
  train {
    ranking { negatives { unigram { count: 8 } } }
    micro_batch_size: 32 micro_batches_per_step: 4
    last_days: 10
  }
}
stage { name: "evaluate" evaluate { k: 10 new_items_only: false floor_days: 0 } }
stage { name: "export" export { index: FLAT recall_k: 10 recall_sample: 20 } }
)";

void Replace(std::string* text, const std::string& from, const std::string& to) {
  text->replace(text->find(from), from.size(), to);
}

}  // namespace

SmallJob::SmallJob(int epochs, int checkpoint_every_steps, const std::string& more) {
  worker::SyntheticShopOptions options;
  options.users = 80;
  options.items = 60;
  options.topics = 5;
  options.days = 40;
  options.visits_per_user = 6;
  const Status written = worker::WriteSyntheticShop(dir_.path(), options);
  EXPECT_TRUE(written.ok()) << written.ToString();
  std::string job = kJob;
  Replace(&job, "EPOCHS", std::to_string(epochs));
  Replace(&job, "EVERY", std::to_string(checkpoint_every_steps));
  Replace(&job, "MORE", more);
  WriteText(job_path(), job);
}

std::vector<std::string> SmallJob::Arguments(const std::string& verb, const std::string& work_dir,
                                             const std::vector<std::string>& flags) const {
  std::vector<std::string> arguments = {verb, job_path(),
                                        "--work_dir=" + dir_.path() + "/" + work_dir};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  return arguments;
}

std::string SmallJob::NewestCheckpoint(const std::string& work_dir) const {
  const auto all = runtime::ListCheckpoints(dir_ / (work_dir + "/checkpoints"));
  if (!all.ok()) return "";
  for (auto it = all->rbegin(); it != all->rend(); ++it) {
    if (it->status.ok()) return it->dir;
  }
  return "";
}

std::string SmallJob::Digest(const std::string& work_dir) const {
  const std::string dir = NewestCheckpoint(work_dir);
  if (dir.empty()) return "";
  const auto manifest = runtime::ReadManifest(dir);
  return manifest.ok() ? manifest->content_digest() : "";
}

}  // namespace emporium::cluster
