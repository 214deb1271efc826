// The nam model against tensors made by tests/reference/nam.py in float64, and what must hold of it
// (models.md M10).
#include <cmath>

#include "models/metrics.h"
#include "tests/models/pointwise_cases.h"

namespace emporium::models {
namespace {

struct NamCase {
  std::string name;     // in the tensor file
  std::string options;  // of the model
  std::string tasks = {};
};
std::string Name(const testing::TestParamInfo<NamCase>& info) { return info.param.name; }

const NamCase kCases[] = {
    {"din", "width: 4 normalise: NONE gate: OPEN"},
    {"none", "width: 4 normalise: NONE heads: 2"},
    {"clipped", "width: 4 normalise: NONE heads: 2 strict_monotone: true"},
    {"frequency", "width: 4 normalise: FREQUENCY alpha: 1 beta: 0.25 gate: CHANNELS"},
    {"frequency_target", "width: 4 normalise: FREQUENCY beta: 0 weight: CAPPED_EXP gate: OPEN"},
    {"batch", "width: 4 normalise: BATCH heads: 2 learn_exponents: true"},
    {"batch_event", "width: 4 normalise: BATCH alpha: 0 beta: 1 strict_monotone: true"},
    {"running",
     "heads: 2 width: 6 mix: 0.3 gate: CHANNELS target_slot: ['t0', 't1'] event_slot: ['e0', 'e1']",
     "task { name: 'ctr' label_column: 'l' } "
     "task { name: 'cvr' label_column: 'm' given: 'ctr' entire_space: true }"},
    {"running_learned",
     "width: 4 alpha: 0 beta: 1 learn_exponents: true weight: CAPPED_EXP target_slot: 't0' "
     "event_slot: 'e0'"},
    {"running_softmax",
     "width: 4 weight: SOFTMAX heads: 2 target_slot: ['t0', 't1'] event_slot: ['e0', 'e1']"},
};

class Nam : public testing::TestWithParam<NamCase> {
 protected:
  const std::string& name() const { return GetParam().name; }
  bool has(const std::string& table) const { return file_.has(name() + "/rows/" + table); }
  bool running() const { return name().starts_with("running"); }
  int32_t heads() const {
    return static_cast<int32_t>(file_.at(name() + "/dense/attention.shift").shape[0]);
  }
  std::vector<std::string> Tables() const {
    std::vector<std::string> tables;
    for (const char* table : {"profile", "item", "brand", "word", "action"}) {
      if (has(table)) tables.emplace_back(table);
    }
    return tables;
  }
  int TableOf(const std::string& table) const {
    const std::vector<std::string> tables = Tables();
    return static_cast<int>(std::find(tables.begin(), tables.end(), table) - tables.begin());
  }
  spec::Job MakeJob() const {
    std::string text =
        "name: \"reference\" data { time_column: 'time' history { max_length: 5 } } ";
    std::string model =
        "gate_mlp { hidden: 3 } tower { hidden: 3 } "
        "fallback { hidden: 4 activation: SILU } ";
    for (const std::string& table : Tables()) {
      text += "table { name: \"" + table +
              "\" dim: " + std::to_string(file_.at(name() + "/rows/" + table).shape[1]);
      if (table == "item" && name() != "din") text += " popularity {} slot { name: 'other' }";
      for (int h = 0; table == "item" && running() && h < 2 * heads(); ++h) {
        text += std::string(" slot { name: '") + (h < heads() ? "t" : "e") +
                std::to_string(h % heads()) + "' update: LOG_EMA fed_by_model: true }";
      }
      text += " } ";
      if (table != "action") {
        text += "feature { name: \"" + table + "\" column: \"a\" table: \"" + table + "\" } ";
      }
      if (table == "word") model += "query: 'word' ";
      if (table == "action") model += "action_feature: 'past_action' ";
      if (table == "profile" || table == "word") continue;
      text += "feature { name: \"past_" + table + "\" column: \"b\" table: \"" + table +
              "\" source: HISTORY } ";
      if (table != "action")
        model += "pair { target: '" + table + "' history: 'past_" + table + "' } ";
    }
    if (file_.has(name() + "/dense/attention.gap")) model += "gap_edges_days: [1, 7] ";
    text += R"(feature { name: "x" column: "x" } feature { name: "y" column: "y" } )" +
            GetParam().tasks + R"( stage { name: "train" train { pointwise {} } } model { nam { )";
    return ParseJob(text + model + GetParam().options + " } }");
  }
  Batch MakeBatch() const {
    const std::string p = name() + "/batch/";
    Batch batch;
    batch.label = file_.floats(p + "label");
    batch.samples = static_cast<int32_t>(file_.at(p + "label").shape[1]);
    batch.weight = file_.floats(p + "weight");
    batch.dense = file_.floats(p + "dense");
    batch.dense_width = 2;
    const auto add_one = [&](const std::string& table) {
      batch.fields.push_back({table, Singles(TableOf(table), file_.ints(p + "one." + table))});
    };
    const auto add_events = [&](const std::string& table, const std::string& values) {
      batch.fields.push_back({"past_" + table, Lists(TableOf(table), file_.ints(p + values),
                                                     file_.ints(p + "offset"))});
    };
    add_one("profile");
    for (const char* table : {"item", "brand"}) {
      if (has(table)) add_one(table);
    }
    for (const char* table : {"item", "brand"}) {
      if (has(table)) add_events(table, std::string("events.") + table);
    }
    if (has("word")) {
      batch.fields.push_back(
          {"word", Lists(TableOf("word"), file_.ints(p + "words"), file_.ints(p + "word_offset"))});
    }
    if (has("action")) add_events("action", "action");
    if (file_.has(name() + "/dense/attention.gap")) batch.event_age_days = file_.floats(p + "age");
    return batch;
  }
  Feed MakeFeed() const {
    Feed feed = FeedOf(file_, name(), job_, Tables());
    Feed::Table& item = feed.tables[static_cast<size_t>(TableOf("item"))];
    item.popularity = file_.floats(name() + "/popularity");
    item.popularity_total = file_.floats(name() + "/popularity_total")[0];
    item.slot_width = 1 + 2 * heads();
    item.slots = file_.floats(name() + "/slots");
    return feed;
  }
  static void DropHistories(Batch* batch) {
    for (FieldColumn& field : batch->fields) {
      if (!field.feature.starts_with("past_")) continue;
      field.rows.index.clear();
      std::fill(field.rows.offset.begin(), field.rows.offset.end(), 0);
    }
    batch->event_age_days.clear();
  }
  // Sample b with the ages of its events.
  static Batch AloneWithAges(const Batch& batch, int32_t b) {
    Batch one = Alone(batch, b);
    if (batch.event_age_days.empty()) return one;
    for (const FieldColumn& field : batch.fields) {
      if (field.feature != "past_item") continue;
      const auto ages = batch.event_age_days.begin();
      one.event_age_days.assign(ages + field.rows.offset[b], ages + field.rows.offset[b + 1]);
    }
    return one;
  }

  const TensorFile file_{"nam.bin"};
  const spec::Job job_ = MakeJob();
  const spec::Train train_ = job_.stage(0).train();
  const Batch batch_ = MakeBatch();
};
INSTANTIATE_TEST_SUITE_P(All, Nam, testing::ValuesIn(kCases), Name);

TEST_P(Nam, LossesGradientsScoresAndSlotsEqualPyTorch) {
  Feed feed = MakeFeed();
  const auto terms = feed.Train(batch_, train_);
  ExpectStepAsInFile(feed, terms, file_, name(), Tables());
  const Feed::Table& item = feed.tables[static_cast<size_t>(TableOf("item"))];
  ExpectNear(item.observed, file_.floats(name() + "/observed"), 1e-5, "observed");
  EXPECT_EQ(item.observed_mask, file_.ints<uint32_t>(name() + "/observed_mask"));
  ExpectNear(feed.Score(batch_), file_.floats(name() + "/logits"), 1e-5, "logits");
}

TEST_P(Nam, OneSampleScoresAloneAsInABatch) {
  Feed feed = MakeFeed();
  const std::vector<float> scores = feed.Score(batch_);
  for (int32_t b = 0; b < batch_.samples; ++b) {
    EXPECT_NEAR(feed.Score(AloneWithAges(batch_, b))[0], scores[b], 1e-5);
  }
}

TEST_P(Nam, OneSampleTrains) {
  for (int32_t b = 0; b < batch_.samples; ++b) {
    Feed feed = MakeFeed();
    EXPECT_TRUE(std::isfinite(feed.Train(AloneWithAges(batch_, b), train_).at("loss")));
    for (const float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
  }
}

TEST_P(Nam, HistoriesMayAllBeEmpty) {
  Batch batch = batch_;
  DropHistories(&batch);
  Feed feed = MakeFeed();
  const std::vector<float> scores = feed.Score(batch);
  const std::vector<float> whole = feed.Score(batch_);
  EXPECT_NEAR(scores[1], whole[1], 1e-5);  // it has none anyhow
  EXPECT_GT(std::abs(scores[3] - whole[3]), 1e-4);
  feed.Train(batch, train_);
  for (const float g : feed.Gradients()) ASSERT_TRUE(std::isfinite(g));
  for (const Feed::Table& table : feed.tables) {
    for (const uint32_t mask : table.observed_mask) EXPECT_EQ(mask, 0u);
  }
}

TEST_P(Nam, SavedAndLoadedScoresTheSameBits) {
  Feed trained = MakeFeed();
  trained.Train(batch_, train_);
  trained.Descend(0.1f);
  Feed loaded(job_);
  loaded.dense = trained.dense;
  loaded.tables = trained.tables;
  EXPECT_EQ(loaded.Score(batch_), trained.Score(batch_));
}

TEST_P(Nam, SeedsDecideTheStart) {
  spec::Job other = job_;
  other.set_seed(2);
  const Feed a(job_), b(job_), c(other);
  EXPECT_EQ(a.dense, b.dense);
  EXPECT_NE(a.dense, c.dense);
}

}  // namespace
}  // namespace emporium::models
