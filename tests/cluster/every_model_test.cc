// Every model through the whole system: the same bits for any number of workers, metrics the same
// too, and a checkpoint that scores as the weights it was made of.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "models/registry.h"
#include "proto/model_options.h"
#include "runtime/manifest.h"
#include "tests/cluster/command.h"

namespace emporium::cluster {
namespace {

namespace fs = std::filesystem;

// The options by which each model is tried: all that it can switch on.
const std::map<std::string, std::string> kOptions = {
    {"lr", ""},
    {"sasrec", "attribute_feature: 'tags' feed_forward: 16 relative_bias: true initial_scale: 5"},
    {"fm", "linear_table: 'line'"},
    {"dnn", "mlp { hidden: [8, 4] activation: DICE batch_norm: true dropout: 0.2 }"},
    {"wdl", "linear_table: 'line' mlp { hidden: 8 activation: PRELU }"},
    {"deepfm", "linear_table: 'line' mlp { hidden: 8 batch_norm: true }"},
    {"dcn", "layers: 2 mlp { hidden: 8 }"},
    {"dcn_v2", "layers: 2 structure: PARALLEL mlp { hidden: 8 batch_norm: true dropout: 0.2 }"},
    {"shared_bottom", "bottom { hidden: 8 activation: DICE } tower { hidden: 4 }"},
    {"mmoe", "experts: 3 expert { hidden: 8 } gate { hidden: 4 } tower { hidden: 4 }"},
    {"ple", "layers: 2 expert { hidden: 8 dropout: 0.1 } gate {} tower { hidden: 4 }"},
    {"esmm", "tower { hidden: 8 batch_norm: true }"},
    {"dcn_mix",
     "layers: 2 structure: STACKED_PARALLEL rank: 4 experts: 2 gate_per_layer: true "
     "mlp { hidden: 8 batch_norm: true }"},
    {"din",
     "pair { target: 'item' history: 'past' } pair { target: 'user' history: 'users' } "
     "attention { hidden: 8 activation: DICE dropout: 0.1 } softmax: true mlp { hidden: 8 }"},
    {"bst",
     "feature: 'user' pair { target: 'item' history: 'seen' } output: FLATTEN position_width: 2 "
     "encoder { heads: 3 blocks: 2 dropout: 0.1 } mlp { hidden: 8 }"},
    {"bst_din",
     "pair { target: 'item' history: 'past' } encoder { heads: 2 } attention { hidden: 8 } "
     "summary: TARGET mlp { hidden: 8 batch_norm: true }"},
    {"nam",
     "pair { target: 'item' history: 'past' } pair { target: 'user' history: 'users' } "
     "query: 'words' action_feature: 'acts' gap_edges_days: [0.0001, 0.001] heads: 2 width: 4 "
     "target_slot: ['t0', 't1'] event_slot: ['e0', 'e1'] sampled_events: 20 learn_exponents: true "
     "gate: CHANNELS tower { hidden: 8 dropout: 0.1 }"},
    {"scenario_bottom", "bottom { hidden: 8 batch_norm: true } tower { hidden: 4 dropout: 0.1 }"},
    {"scenario_mmoe", "experts: 3 expert { hidden: 8 } gate { hidden: 4 } tower { hidden: 4 }"},
    {"scenario_ple", "layers: 2 expert { hidden: 8 } gate {} tower { hidden: 4 batch_norm: true }"},
    {"hmoe", "experts: 2 expert { hidden: 8 } gate {} tower { hidden: 4 batch_norm: true }"},
    {"star", "mlp { hidden: 8 batch_norm: true activation: DICE dropout: 0.1 }"},
    {"pepnet", "personal: 'user' personal: 'words' mlp { hidden: 8 batch_norm: true }"},
    {"sfpnet",
     "pair { target: 'item' history: 'past' } residual { hidden: 8 dropout: 0.1 } "
     "attention { hidden: 8 activation: DICE } softmax: true mlp { hidden: 8 batch_norm: true }"},
};
// Beside a model: what it is tried with under another name, "<model>_placed".
const std::map<std::string, std::string> kBeside = {
    {"din_placed", "position { column: 'place' with: 'device' form: PRODUCT places: 5 }"},
    {"wdl_placed", "position { column: 'place' with: 'device' missing_rate: 0.2 mlp {} }"},
};
std::string ModelOf(const std::string& name) { return name.substr(0, name.rfind("_placed")); }
const std::string kPlaced = R"(
    feature { name: "device" column: "views" table: "user" salt: 2 })";

// What the table of the items keeps, where a model asks for it.
const std::map<std::string, std::string> kItemTable = {{"nam", R"( popularity {}
    slot { name: "shown" }
    slot { name: "t0" update: LOG_EMA fed_by_model: true }
    slot { name: "t1" update: LOG_EMA fed_by_model: true }
    slot { name: "e0" update: LOG_EMA fed_by_model: true }
    slot { name: "e1" update: LOG_EMA fed_by_model: true })"}};
// Tables and features of one model alone.
const std::map<std::string, std::string> kFurther = {{"nam", R"(
    table { name: "act" dim: 2 optimizer { adagrad {} } }
    feature { name: "acts" column: "user" table: "act" source: HISTORY })"}};
// Further features, of the models that read sequences.
const std::string kSequences = R"(
    feature { name: "seen" column: "seen" table: "item" max_length: 4 }
    feature { name: "past" column: "item" table: "item" source: HISTORY }
    feature { name: "users" column: "user" table: "user" source: HISTORY })";

// Of the models with several tasks; the rest have one, of data.label_column.
const std::map<std::string, std::string> kTasks = {
    {"shared_bottom", R"(
        task { name: "click" label_column: "click" }
        task { name: "views" label_column: "views" kind: LOG1P given: "click" })"},
    {"mmoe", R"(
        task { name: "click" label_column: "click" }
        task { name: "deep" label_column: "views" positive_above_percentile: 70 given: "click"
               entire_space: true })"},
    {"ple", R"(
        task { name: "click" label_column: "click" }
        task { name: "buy" label_column: "buy" given: "click" })"},
    {"esmm", R"(
        task { name: "click" label_column: "click" }
        task { name: "buy" label_column: "buy" given: "click" entire_space: true })"},
    {"nam", R"(
        task { name: "click" label_column: "click" }
        task { name: "buy" label_column: "buy" given: "click" entire_space: true })"},
};
// How their losses are weighed.
const std::map<std::string, std::string> kWeights = {{"shared_bottom", "weights: DWA"},
                                                     {"mmoe", "weights: DWA temperature: 1"},
                                                     {"ple", "weights: UNCERTAINTY"}};

// Rows whose label hangs together with user and item; the words of some are missing.
std::string Events(uint64_t seed, int rows) {
  std::string text = "time,user,item,words,price,click,buy,views,place,seen,site\n";
  uint64_t word = seed;
  const auto draw = [&word](uint64_t n) {
    word = word * 6364136223846793005u + 1442695040888963407u;
    return (word >> 33) % n;
  };
  for (int i = 0; i < rows; ++i) {
    const uint64_t user = draw(20);
    const uint64_t item = draw(30);
    const bool click = draw(10) < 1 + (user * 7 + item * 3) % 9;
    text += std::to_string(seed * 100'000 + static_cast<uint64_t>(i) / 2) + ",u" +
            std::to_string(user) + ",i" + std::to_string(item) + ",";
    if (item % 4 != 0) text += "w" + std::to_string(item % 5) + " w" + std::to_string(user % 3);
    text += "," + std::to_string(static_cast<double>(draw(100)) / 50 - 1) + "," +
            (click ? "1" : "0") + "," + (click && draw(3) < user % 3 ? "1" : "0") + "," +
            std::to_string(draw(1 + item % 7)) + "," + std::to_string(draw(9)) + ",";
    for (uint64_t k = draw(7); k > 0; --k) text += "i" + std::to_string((user + 5 * k) % 30) + " ";
    text += "," + std::string(draw(3) == 0 ? "shop" : "web") + "\n";
  }
  return text;
}

std::string OrNothing(const std::map<std::string, std::string>& of, const std::string& key) {
  const auto found = of.find(key);
  return found == of.end() ? "" : found->second;
}

// Users who go through the items in steps of their own, now and then elsewhere.
std::string Walks(int users, int events) {
  std::string text = "user,item,time\n";
  for (int t = 0; t < events; ++t) {
    for (int user = t % 3; user < users; ++user) {
      const int item = (t + user) % 7 == 0 ? user % 5 : (user * 3 + t * (1 + user % 4)) % 30;
      text += "u" + std::to_string(user) + ",i" + std::to_string(item) + "," +
              std::to_string(t * 100) + "\n";
    }
  }
  return text;
}

std::string Tags(int items) {
  std::string text = "item,tags\n";
  for (int item = 0; item < items; ++item) {
    text += "i" + std::to_string(item) + ",";
    if (item % 6 != 0) text += "w" + std::to_string(item % 5) + " w" + std::to_string(item % 3);
    text += "\n";
  }
  return text;
}

bool Ranks(const std::string& model) {
  spec::Job job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString("model { " + model + " {} }", &job));
  return IsRetrieval(job);
}

// The job of a model that ranks items.
std::string RankingJobText(const std::string& model) {
  return R"(
    name: "small" seed: 3
    table { name: "item" dim: 8 optimizer { adam { learning_rate: 0.01 } } }
    table { name: "tag" dim: 8 optimizer { adam { learning_rate: 0.01 l2: 0.001 } } }
    data {
      events {
        file: "walks.csv" column { name: "user" } column { name: "item" }
        column { name: "time" type: INT }
      }
      items { file: "tags.csv" column { name: "item" } column { name: "tags" type: TEXT } }
      user_column: "user" item_column: "item" time_column: "time" items_key_column: "item"
      split { leave_one_out {} }
      history { max_length: 10 }
    }
    feature { name: "item" column: "item" table: "item" source: ITEM }
    feature { name: "tags" column: "tags" table: "tag" source: ITEM }
    model { )" +
         model + " { item_feature: 'item' " + kOptions.at(model) + R"( } }
    stage {
      name: "train"
      train {
        sampled_softmax { negatives { uniform { count: 8 } } every_position: true }
        epochs: 3 micro_batch_size: 5 micro_batches_per_step: 3
        learning_rate { warm_up_steps: 3 schedule: COSINE } validate_every_epochs: 1
      }
    }
    stage { name: "export" export { index: FLAT } }
    stage { name: "test" evaluate { new_items_only: false } })";
}

std::string JobText(const std::string& name) {
  const std::string model = ModelOf(name);
  if (Ranks(model)) return RankingJobText(model);
  const std::string dim = model == "lr" ? "1" : "4";
  return R"(
    name: "small" seed: 3
    table { name: "user" dim: )" +
         dim + R"( optimizer { adam { learning_rate: 0.01 l2: 0.001 } } }
    table { name: "item" dim: )" +
         dim + R"( optimizer { adam { learning_rate: 0.01 } } )" + OrNothing(kItemTable, model) +
         R"( }
    table { name: "line" dim: 1 optimizer { adagrad {} } }
    data {
      events {
        file: "train.csv"
        column { name: "user" } column { name: "item" } column { name: "words" type: TEXT }
        column { name: "price" type: FLOAT } column { name: "click" type: INT }
        column { name: "buy" type: INT } column { name: "views" type: INT }
        column { name: "time" type: INT } column { name: "seen" type: TEXT }
        column { name: "place" type: INT } column { name: "site" }
      }
      label_column: "click" user_column: "user" item_column: "item" time_column: "time"
      history { max_length: 5 min_length: 0 lag_seconds: 3 }
      scenario { column: "site" value: "web" value: "shop" value: "nowhere" }
      split { files { validation_file: "valid.csv" test_file: "test.csv" } }
    }
    feature { name: "user" column: "user" table: "user" }
    feature { name: "item" column: "item" table: "item" }
    feature { name: "words" column: "words" table: "item" salt: 1 }
    feature { name: "price" column: "price" })" +
         (kOptions.at(model).find("pair") == std::string::npos ? "" : kSequences) +
         (model == name ? "" : kPlaced) + OrNothing(kFurther, model) + R"(
    model { )" +
         model + " { " + kOptions.at(model) + " } " + OrNothing(kBeside, name) + " }" +
         OrNothing(kTasks, model) + R"(
    stage {
      name: "train"
      train {
        pointwise { )" +
         OrNothing(kWeights, model) + R"( } epochs: 3 micro_batch_size: 50 micro_batches_per_step: 3
        learning_rate { warm_up_steps: 3 schedule: COSINE } validate_every_epochs: 1
      }
    }
    stage { name: "test" evaluate {} })";
}

class EveryModel : public testing::TestWithParam<std::string> {
 protected:
  EveryModel() {
    WriteText(dir_ / "train.csv", Events(1, 1000));
    WriteText(dir_ / "valid.csv", Events(2, 200));
    WriteText(dir_ / "test.csv", Events(3, 300));
    WriteText(dir_ / "walks.csv", Walks(40, 20));
    WriteText(dir_ / "tags.csv", Tags(30));
    WriteText(dir_ / "job.textproto", JobText(GetParam()));
  }

  // Runs the job; what it came to.
  std::string Run(const std::string& verb, const std::string& name,
                  const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {verb, dir_ / "job.textproto",
                                          "--work_dir=" + (dir_ / name)};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const Output output = RunEmporium(arguments);
    EXPECT_EQ(output.code, 0) << output.text;
    const auto all = runtime::ListCheckpoints(dir_ / (name + "/checkpoints"));
    if (!all.ok() || all->empty()) return "no checkpoint";
    const auto manifest = runtime::ReadManifest(all->back().dir);
    return manifest.ok() ? manifest->content_digest() : manifest.status().ToString();
  }
  // The metrics in the last status, validation's too.
  std::string Metrics(const std::string& name) const {
    const std::string text = ReadText(dir_ / (name + "/status.json"));
    std::string metrics;
    for (size_t at = text.find("\"metrics\""); at != std::string::npos;
         at = text.find("\"metrics\"", at + 1)) {
      metrics += text.substr(at, text.find('}', at) - at);
    }
    return metrics;
  }

  // One that the model's evaluation must report.
  const std::string metric_ = Ranks(ModelOf(GetParam())) ? "ndcg@10" : "auc";
  const TempDir dir_;
};

TEST_P(EveryModel, HasTheSameBitsForAnyNumberOfWorkers) {
  const std::string digest = Run("run", "one", {"--workers=1", "--lanes=1"});
  ASSERT_EQ(digest.size(), 64u) << digest;
  const std::string metrics = Metrics("one");
  EXPECT_NE(metrics.find(metric_), std::string::npos) << metrics;
  for (const char* workers : {"2", "3"}) {
    const std::string name = std::string("launch-") + workers;
    EXPECT_EQ(Run("launch", name, {std::string("--workers=") + workers, "--lanes=1"}), digest);
    EXPECT_EQ(Metrics(name), metrics);
  }
}

TEST_P(EveryModel, ScoresTheSameFromACheckpoint) {
  Run("run", "first", {});
  const std::string metrics = Metrics("first");
  // What is left is the checkpoint: the stages before it count as done, the evaluation does not.
  fs::create_directories(dir_ / "again");
  fs::copy(dir_ / "first/checkpoints", dir_ / "again/checkpoints", fs::copy_options::recursive);
  Run("run", "again", {"--workers=2"});
  EXPECT_NE(metrics.find(metric_), std::string::npos);
  const auto test_part = [](const std::string& all) {
    return all.substr(all.rfind("\"metrics\""));
  };
  EXPECT_EQ(test_part(Metrics("again")), test_part(metrics));
}

std::vector<std::string> ModelNames() {
  std::vector<std::string> names;
  for (const models::ModelEntry& entry : models::Registry()) {
    const std::string name = spec::Model::descriptor()->FindFieldByNumber(entry.kind)->name();
    if (name != "two_tower") names.push_back(name);  // tests/cluster/same_bits_test.cc has it
  }
  for (const auto& [name, options] : kBeside) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryModel, testing::ValuesIn(ModelNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace emporium::cluster
