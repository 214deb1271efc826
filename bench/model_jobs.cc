#include "bench/model_jobs.h"

#include <algorithm>

#include "models/registry.h"

namespace emporium::bench {
namespace {

enum class Kind { kFields, kTasks, kSequence, kRetrieval };

struct Case {
  const char* name;
  Kind kind;
  const char* model = "";  // as a job file says it; nothing: NAME {}
  int dim = 16;            // of rows
  // Further parts of the job, and what the train stage says instead of its kind's loss.
  const char* more = "";
  const char* loss = "";
  bool scenarios = false;
  const char* item_table = "";  // what the table of items keeps
};

// The label stands in for a scenario: it is the speed alone that is looked at.
constexpr const char* kScenario = "scenario { column: 'label' value: '0' value: '1' }";
constexpr const char* kNamItems =
    "popularity {} slot { name: 'target' update: LOG_EMA fed_by_model: true } "
    "slot { name: 'event' update: LOG_EMA fed_by_model: true }";

constexpr const char* kDefault = "";

constexpr Case kCases[] = {
    {"two_tower", Kind::kRetrieval,
     "two_tower { item_feature: 'item' user_tower { transformer {} } }", 64},
    {"sasrec", Kind::kRetrieval, "sasrec { item_feature: 'item' }", 64, "",
     "sampled_softmax { negatives { uniform { count: 128 } } every_position: true }"},
    {"lr", Kind::kFields, kDefault, 1},
    {"fm", Kind::kFields, "fm { linear_table: 'line' }"},
    {"dnn", Kind::kFields, "dnn { mlp { hidden: [400, 400] } }"},
    {"wdl", Kind::kFields, "wdl { linear_table: 'line' mlp { hidden: [400, 400] } }"},
    {"deepfm", Kind::kFields, "deepfm { linear_table: 'line' hidden: [400, 400] }"},
    {"shared_bottom", Kind::kTasks, kDefault},
    {"mmoe", Kind::kTasks, kDefault},
    {"ple", Kind::kTasks, kDefault},
    {"esmm", Kind::kTasks, kDefault},
    {"din", Kind::kSequence, "din { pair { target: 'item' history: 'history' } }"},
    {"bst", Kind::kSequence, "bst { pair { target: 'item' history: 'history' } }"},
    {"bst_din", Kind::kSequence, "bst_din { pair { target: 'item' history: 'history' } }"},
    {.name = "scenario_bottom", .kind = Kind::kFields, .scenarios = true},
    {.name = "scenario_mmoe", .kind = Kind::kFields, .scenarios = true},
    {.name = "scenario_ple", .kind = Kind::kFields, .scenarios = true},
    {.name = "hmoe", .kind = Kind::kFields, .scenarios = true},
    {.name = "star", .kind = Kind::kFields, .scenarios = true},
    {.name = "pepnet",
     .kind = Kind::kFields,
     .model = "pepnet { personal: 'c0' personal: 'c1' }",
     .scenarios = true},
    {.name = "sfpnet",
     .kind = Kind::kSequence,
     .model = "sfpnet { pair { target: 'item' history: 'history' } }",
     .scenarios = true},
    {.name = "nam",
     .kind = Kind::kSequence,
     .model = "nam { pair { target: 'item' history: 'history' } target_slot: 'target' "
              "event_slot: 'event' }",
     .item_table = kNamItems},
};

constexpr int kFields = 20;  // of the generated kCtrFields
constexpr int kNumbers = 4;

std::string Table(const std::string& name, int dim, const std::string& more = "") {
  return "table { name: '" + name + "' dim: " + std::to_string(dim) +
         " optimizer { rowwise_adagrad { learning_rate: 0.02 } }"
         " initializer { uniform { low: -0.01 high: 0.01 } } " +
         more + " }\n";
}

std::string TrainStage(const std::string& loss, int micro_batch_size, const std::string& more) {
  return "stage { name: 'train' train { " + loss +
         " epochs: 100000 micro_batch_size: " + std::to_string(micro_batch_size) +
         " micro_batches_per_step: 2 " + more + " } }\n";
}

// Keys that differ between fields, numbers, a click; with several tasks also whether a number is
// high.
ModelJob FieldsJob(const Case& c, bool tasks) {
  std::string columns = "column { name: 'time' type: INT } column { name: 'label' type: INT }\n";
  std::string features;
  for (int i = 0; i < kFields; ++i) {
    const std::string name = "'c" + std::to_string(i) + "'";
    columns += "column { name: " + name + " type: INT }\n";
    features +=
        "feature { name: " + name + " column: " + name + " table: 'rows' hashing: IDENTITY }\n";
  }
  for (int i = 0; i < kNumbers + (tasks ? 1 : 0); ++i) {
    const std::string name = "'d" + std::to_string(i) + "'";
    columns += "column { name: " + name + " type: FLOAT }\n";
    if (i < kNumbers) features += "feature { name: " + name + " column: " + name + " }\n";
  }
  ModelJob job;
  job.about = tasks ? "20 keys, 4 numbers, 2 tasks" : "20 keys, 4 numbers";
  job.text = Table("rows", c.dim) + Table("line", 1) + "data { events { file: 'events.csv'\n" +
             columns + "} time_column: 'time' label_column: 'label' split { train_only {} } " +
             (c.scenarios ? kScenario : "") + "}\n" + features;
  if (tasks) {
    job.text +=
        "task { name: 'click' label_column: 'label' }\n"
        "task { name: 'deep' label_column: 'd4' positive_above_percentile: 70 given: 'click'\n"
        "       entire_space: true }\n";
  }
  job.text += TrainStage("pointwise {}", 1024, "in_time_order: true");
  job.write = WriteCtr;
  job.folder = "ctr";
  job.data = {.samples = 60'000, .vocabulary = 100'000};
  job.epoch_steps = job.data.samples / 2048 + 1;
  return job;
}

ModelJob SequenceJob(const Case& c) {
  ModelJob job;
  job.about = "3 keys, history of 50";
  job.text = Table("user", c.dim) + Table("item", c.dim, c.item_table) + Table("category", c.dim) +
             R"(
data {
  events {
    file: "events.csv"
    column { name: "time" type: INT }
    column { name: "label" type: INT }
    column { name: "user" type: INT }
    column { name: "item" }
    column { name: "category" type: INT }
    column { name: "history" type: TEXT }
  }
  time_column: "time" label_column: "label" split { train_only {} } )" +
             (c.scenarios ? kScenario : "") + R"(
}
feature { name: "user" column: "user" table: "user" hashing: IDENTITY }
feature { name: "item" column: "item" table: "item" }
feature { name: "category" column: "category" table: "category" hashing: IDENTITY }
feature { name: "history" column: "history" table: "item" max_length: 50 sighting: false }
)" + TrainStage("pointwise {}", 256, "in_time_order: true");
  job.write = WriteSequences;
  job.folder = "seq";
  job.data = {.samples = 8'000, .vocabulary = 100'000};
  job.epoch_steps = job.data.samples / 512 + 1;
  return job;
}

// A sample is a user: his last event, or with every_position all of them.
ModelJob RetrievalJob(const Case& c) {
  ModelJob job;
  job.about = "users with histories of 50";
  const std::string loss = "sampled_softmax { negatives { in_batch {} } mask_history: false }";
  job.text = Table("item", c.dim, "popularity {}") + R"(
data {
  events {
    file: "events.csv"
    column { name: "user" type: INT }
    column { name: "item" type: INT }
    column { name: "time" type: INT }
  }
  user_column: "user" item_column: "item" time_column: "time" split { train_only {} }
  history { max_length: 50 min_length: 50 }
}
feature { name: "item" column: "item" table: "item" source: ROW hashing: IDENTITY }
)" + TrainStage(*c.loss == '\0' ? loss : c.loss, 128, "");
  job.write = WriteTwoTower;
  job.folder = "twotower";
  job.data = {.samples = 2'000, .vocabulary = 100'000};
  job.epoch_steps = job.data.samples / 256 + 1;
  return job;
}

ModelJob JobOf(const Case& c) {
  switch (c.kind) {
    case Kind::kFields:
      return FieldsJob(c, false);
    case Kind::kTasks:
      return FieldsJob(c, true);
    case Kind::kSequence:
      return SequenceJob(c);
    case Kind::kRetrieval:
      break;
  }
  return RetrievalJob(c);
}

}  // namespace

std::vector<std::string> StandardModels() {
  std::vector<std::string> names;
  for (const models::ModelEntry& entry : models::Registry()) {
    names.push_back(spec::Model::descriptor()->FindFieldByNumber(entry.kind)->name());
  }
  for (const Case& c : kCases) {
    if (std::find(names.begin(), names.end(), c.name) == names.end()) names.emplace_back(c.name);
  }
  return names;
}

Result<ModelJob> StandardJob(const std::string& name) {
  const std::vector<std::string> all = StandardModels();
  if (std::find(all.begin(), all.end(), name) == all.end()) {
    std::string list;
    for (const std::string& one : all) list += " " + one;
    return InvalidArgument("--model: there is no " + name + "; there are" + list);
  }
  const auto found = std::find_if(std::begin(kCases), std::end(kCases),
                                  [&name](const Case& c) { return c.name == name; });
  const Case c = found != std::end(kCases) ? *found : Case{name.c_str(), Kind::kFields, kDefault};
  ModelJob job = JobOf(c);
  job.text = "name: '" + name + "' seed: 1\n" + job.text + c.more + "\nmodel { " +
             (*c.model == '\0' ? name + " {}" : c.model) +
             " }\ndense { name: 'dense' optimizer { adam { learning_rate: 0.001 } } }\n"
             "cluster { lanes: 2 shards_per_server: 2 }\n";
  return job;
}

}  // namespace emporium::bench
