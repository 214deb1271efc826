// Where events and samples came from: against the lines as the test wrote them.
#include "worker/origin.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <set>

#include "tests/worker/data_fixture.h"
#include "worker/key_hash.h"

namespace emporium::worker {
namespace {

using ::testing::HasSubstr;

constexpr const char* kJob = R"(
  data { events { file: "clicks.csv" column { name: "t" type: INT } column { name: "u" }
                  column { name: "i" } column { name: "y" type: INT } }
         user_column: "u" item_column: "i" time_column: "t" label_column: "y"
         max_bad_rows: 5 DATA } )";

spec::Job WithData(const std::string& data, const std::string& rest = "") {
  std::string text = kJob;
  text.replace(text.find("DATA"), 4, data);
  spec::Job job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text + rest, &job));
  return job;
}

class OriginTest : public DataTest {
 protected:
  // With `./` for the directory of the test.
  std::string Local(std::string text) const {
    const std::string dir = dir_.string() + "/";
    for (size_t at = text.find(dir); at != std::string::npos; at = text.find(dir)) {
      text.replace(at, dir.size(), "./");
    }
    return text;
  }
  std::string Of(const Dataset& data, const std::vector<int64_t>& events) const {
    return Local(data.OriginOf(events));
  }
  void WriteRows(const std::string& name, int from, int to) const {
    std::string text = "t,u,i,y\n";
    for (int n = from; n < to; ++n) text += std::to_string(n) + ",a,x,1\n";
    Write(name, text);
  }
};

TEST_F(OriginTest, CountsLinesAsAnEditorDoes) {
  Write("clicks.csv",
        "t,u,i,y\n"                     // 1
        "50,a,x,1\n"                    // 2
        "\n"                            // 3: nothing
        "forty,a,x,1\n"                 // 4: bad
        "40,\"two\nlines\",x,1\n"       // 5 and 6
        "30,\"\"\"q\"\"\",x,1\r\n"      // 7
        "20,\"a\"b,x,1\n"               // 8: bad
        "10,a,\"x\r\n\r\n\",\"1\"\r\n"  // 9 to 11
        "60,a,x,1");                    // 12
  const auto data = Data(WithData(""));
  ASSERT_EQ(data->events(), 5);
  const int64_t lines[] = {9, 7, 5, 2, 12};  // in the order of time
  for (int64_t event = 0; event < 5; ++event) {
    EXPECT_EQ(Of(*data, {event}), "./clicks.csv line " + std::to_string(lines[event]));
  }
  EXPECT_EQ(Of(*data, {4, 0, 1, 0}), "./clicks.csv lines 7, 9, 12");
  EXPECT_EQ(Of(*data, {}), "");
  EXPECT_THAT(Of(*data, {5}), HasSubstr("not known: ./prepared/origin.columns: does not fit"));
  std::filesystem::remove(Path("prepared/origin.columns"));
  EXPECT_THAT(Of(*data, {0}), HasSubstr("not known: ./prepared/origin.columns: "));
}

TEST_F(OriginTest, WithoutAHeaderTheFirstLineIsTheFirstRow) {
  Write("clicks.csv", "2,a,x,1\n1,a,x,1\n");
  spec::Job job = WithData("");
  job.mutable_data()->mutable_events()->set_header(spec::NONE);
  const auto data = Data(job);
  EXPECT_EQ(Of(*data, {0}), "./clicks.csv line 2");
  EXPECT_EQ(Of(*data, {1}), "./clicks.csv line 1");
}

TEST_F(OriginTest, RunsOfLinesAreOneAndTheRestIsCounted) {
  WriteRows("clicks.csv", 0, 100);  // event n is line n + 2
  const auto data = Data(WithData(""));
  std::vector<int64_t> events(100);
  std::iota(events.begin(), events.end(), 0);
  std::reverse(events.begin(), events.end());
  EXPECT_EQ(Of(*data, events), "./clicks.csv lines 2-101");
  events.erase(std::remove_if(events.begin(), events.end(), [](int64_t e) { return e % 5 > 2; }),
               events.end());
  EXPECT_EQ(Of(*data, events),
            "./clicks.csv lines 2-4, 7-9, 12-14, 17-19, 22-24, 27-29, 32-34, 37-39, 42-44, 47-49 "
            "and 30 more");
  events = {0, 1, 3, 20};
  EXPECT_EQ(Of(*data, events), "./clicks.csv lines 2-3, 5, 22");
}

TEST_F(OriginTest, SeveralFilesOfASplit) {
  WriteRows("clicks.csv", 0, 3);
  for (int n = 1; n < 6; ++n) {
    WriteRows("day-" + std::to_string(n) + ".csv", 0, 2);
  }
  const auto data = Data(WithData("split { files { test_file: \"day-*.csv\" } }"));
  ASSERT_EQ(data->events(), 13);
  EXPECT_EQ(Of(*data, {0, 2}), "./clicks.csv lines 2, 4");
  // Of one time, in the order of files.
  EXPECT_EQ(Of(*data, {2, 3, 8}), "./clicks.csv line 4; ./day-1.csv lines 2-3");
  EXPECT_EQ(Of(*data, {2, 3, 4, 5, 6, 7}),
            "./clicks.csv line 4; ./day-1.csv line 2; ./day-2.csv line 2 and 3 more in 3 files");
  EXPECT_EQ(Of(*data, {2, 3, 4, 5}),
            "./clicks.csv line 4; ./day-1.csv line 2; ./day-2.csv line 2 and 1 more in 1 file");
}

TEST_F(OriginTest, LongPathsAreToldByTheirEnds) {
  std::string folder;
  for (int n = 0; n < 40; ++n) folder += "\xC3\xA4\xC3\xB6";  // of two bytes each
  std::filesystem::create_directories(Path(folder));
  WriteRows(folder + "/c.csv", 0, 1);
  spec::Job job = WithData("");
  job.mutable_data()->mutable_events()->set_file(0, folder + "/c.csv");
  const auto data = Data(job);
  const std::string text = data->OriginOf(std::vector<int64_t>{0});
  EXPECT_THAT(text, testing::StartsWith("..."));
  EXPECT_THAT(text, testing::EndsWith("/c.csv line 2"));
  EXPECT_LE(text.size(), kMaxOriginPathBytes + 5);
  EXPECT_NE(static_cast<unsigned char>(text[3]) & 0xC0, 0x80);  // a whole character
}

TEST_F(OriginTest, IsTheSameForAnyRunOfTheSorterAndNoPartOfTheDigest) {
  std::string text = "t,u,i,y\n";
  std::vector<std::pair<int, int>> line_of;  // by time, stable
  for (int n = 0; n < 500; ++n) {
    const int time = n * 7919 % 101;
    text += std::to_string(time) + ",a,x,1\n";
    line_of.emplace_back(time, n + 2);
  }
  std::sort(line_of.begin(), line_of.end());
  Write("clicks.csv", text);
  Write("copy.csv", text);
  const auto large = Prepare(WithData(""), "large");
  const auto tiny = Prepare(WithData(""), "tiny", 100);
  spec::Job job = WithData("");
  job.mutable_data()->mutable_events()->set_file(0, "copy.csv");
  const auto copy = Prepare(job, "copy");
  ASSERT_TRUE(large.ok() && tiny.ok() && copy.ok());
  EXPECT_EQ(large->digest, tiny->digest);
  EXPECT_EQ(large->digest, copy->digest);
  EXPECT_TRUE(Read(Path("large/origin.columns")) == Read(Path("tiny/origin.columns")));
  const auto data = Dataset::Open(Path("tiny"));
  ASSERT_TRUE(data.ok());
  for (size_t event = 0; event < line_of.size(); ++event) {
    EXPECT_EQ(Of(**data, {static_cast<int64_t>(event)}),
              "./clicks.csv line " + std::to_string(line_of[event].second));
  }
}

TEST_F(OriginTest, AConvertedFileHasRows) {
  Write("clicks.csv", "t,u,i,y\n30,a,x,1\n10,b,x,1\n");
  ASSERT_TRUE(Prepare(WithData(""), "first").ok());
  spec::Job job = WithData("");
  job.mutable_data()->mutable_events()->set_file(0, "first");
  const auto data = Data(job);
  EXPECT_EQ(Of(*data, {0}), "./first row 1");
  EXPECT_EQ(Of(*data, {0, 1}), "./first rows 1-2");
}

// Every event names its line, so that a micro-batch's own columns say where its samples came from.
class OriginOfSamplesTest : public OriginTest {
 protected:
  static constexpr int kRows = 90;
  // Time falls as lines rise, so event e is line kRows + 1 - e.
  void SetUp() override {
    DataTest::SetUp();
    std::string text = "t,u,i,y\n";
    for (int n = 0; n < kRows; ++n) {
      text += std::to_string(10 * (kRows - n)) + ",u" + std::to_string(n * 37 % 11) + ",i" +
              std::to_string(n) + "," + std::to_string(n % 2) + "\n";
    }
    Write("clicks.csv", text);
  }
  // What OriginOf should say of samples on these lines, were there no bound.
  static std::string Slow(const std::set<int>& lines) {
    std::string text;
    for (auto it = lines.begin(); it != lines.end();) {
      const int first = *it;
      int last = first;
      while (++it != lines.end() && *it == last + 1) last = *it;
      text += (text.empty() ? "" : ", ") + std::to_string(first);
      if (last != first) text += "-" + std::to_string(last);
    }
    return std::string("./clicks.csv line") + (lines.size() > 1 ? "s " : " ") + text;
  }
  // Calls `check` for every micro-batch of the stage.
  static void ForEach(const BatchSource& source,
                      const std::function<void(Step, MicroBatch, const PlannedBatch&)>& check) {
    const StagePlan plan = source.plan(StageId(0));
    for (Step step(0); step.value() < plan.total_steps; step = Step(step.value() + 1)) {
      for (uint32_t m = 0; m < plan.MicroBatches(step); ++m) {
        const auto planned = source.Train(StageId(0), step, MicroBatch(m));
        ASSERT_TRUE(planned.ok()) << planned.status().ToString();
        check(step, MicroBatch(m), *planned);
      }
    }
  }
};

TEST_F(OriginOfSamplesTest, OfPointwiseRows) {
  const auto source = Source(WithData("", R"(
    name: "j" seed: 5 table { name: "t" dim: 2 optimizer { sgd {} } }
    feature { name: "i" column: "i" table: "t" }
    feature { name: "t" column: "t" table: "t" hashing: IDENTITY }
    model { dcn_v2 { layers: 1 mlp { hidden: 4 } } }
    stage { name: "s" train { pointwise {} epochs: 2 micro_batch_size: 8
                              micro_batches_per_step: 2 } })"));
  std::map<std::string, int> seen;
  ForEach(*source, [&](Step step, MicroBatch m, const PlannedBatch& planned) {
    const models::RowLists& times = planned.batch.fields[1].rows;
    std::set<int> lines;
    for (const int32_t index : times.index) {  // the key is the time
      lines.insert(kRows + 1 -
                   static_cast<int>(planned.tables[0].keys[static_cast<size_t>(index)] / 10 - 1));
    }
    const std::string text = Local(source->OriginOf(StageId(0), step, m));
    EXPECT_EQ(text, Slow(lines));
    ++seen[text];
  });
  EXPECT_GT(seen.size(), 12u);  // another shuffle in the second epoch
}

TEST_F(OriginOfSamplesTest, OfRetrievalRowsWithoutTheirHistories) {
  std::map<uint64_t, int> line_of;  // of the item's only event, by its key
  for (int n = 0; n < kRows; ++n) line_of[KeyOfText("i" + std::to_string(n), 0)] = n + 2;
  for (const bool every_position : {false, true}) {
    int whole = 0;
    const std::string softmax = every_position ? "every_position: true" : "";
    const auto source =
        Source(WithData(every_position ? "split { leave_one_out {} }" : "split { train_only {} }",
                        R"(
      name: "j" seed: 5 table { name: "t" dim: 2 optimizer { sgd {} } popularity {} }
      feature { name: "i" column: "i" table: "t" }
      model { two_tower { item_feature: "i" } }
      stage { name: "s" train { epochs: 2 micro_batch_size: 2 micro_batches_per_step: 3
                                sampled_softmax { negatives { all {} } )" +
                            softmax + " } } }"));
    ForEach(*source, [&](Step step, MicroBatch m, const PlannedBatch& planned) {
      // Each item has one event, so the rows' positives say which events they are.
      const models::CandidateColumns& c = planned.batch.candidates;
      std::set<int> lines;
      for (const int32_t candidate : c.positive) {
        const int32_t item = c.item[static_cast<size_t>(candidate)];
        const int32_t row = planned.batch.items.id.index[static_cast<size_t>(item)];
        lines.insert(line_of.at(planned.tables[0].keys[static_cast<size_t>(row)]));
      }
      const std::string text = Local(source->OriginOf(StageId(0), step, m));
      const size_t cut = text.find(" and ");
      EXPECT_EQ(text.substr(0, cut), Slow(lines).substr(0, cut)) << every_position;
      whole += cut == std::string::npos ? 1 : 0;
    });
    EXPECT_GT(whole, 0);
  }
}

}  // namespace
}  // namespace emporium::worker
