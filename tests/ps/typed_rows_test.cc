// Tables of every element type under every optimizer: what a checkpoint restores goes on with the
// same bits, and shards cannot show.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "ps/checkpoint.h"
#include "ps/shard_file.h"
#include "tests/ps/shard_fixture.h"

namespace emporium::ps {
namespace {

using namespace ps::testing;  // NOLINT: the fixture's names
namespace fs = std::filesystem;

constexpr const char* kJob = "0123abcd";
const char* const kOptimizers[] = {
    "sgd { learning_rate: 0.01 l2: 0.01 } clip_norm: 1",
    "momentum { learning_rate: 0.01 }",
    "adagrad { learning_rate: 0.02 initial_accumulator: 0.1 }",
    "rowwise_adagrad { learning_rate: 0.02 initial_accumulator: 0.1 }",
    "adam { learning_rate: 0.002 }",
    "adamw { learning_rate: 0.002 }",
    "ftrl { alpha: 0.1 l1: 0.001 }",
};
constexpr spec::ElementType kTypes[] = {spec::FP32, spec::FP16, spec::BF16, spec::INT8};

std::vector<TableSettings> Tables(const char* optimizer, spec::ElementType type) {
  std::vector<TableSettings> tables = TwoTables();
  for (TableSettings& table : tables) {
    table.element_type = type;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(optimizer, &table.optimizer));
  }
  return tables;
}

class TypedRowsTest : public ::testing::TestWithParam<spec::ElementType> {
 protected:
  void SetUp() override { dir_ = ScratchDir("typed"); }
  void TearDown() override { fs::remove_all(dir_); }
  std::string Dir(const std::string& name) {
    fs::create_directories(dir_ + "/" + name);
    return dir_ + "/" + name;
  }

  static void RestoreAll(const std::string& dir, Cluster* cluster) {
    const spec::CheckpointManifest manifest = runtime::ReadManifest(dir).value();
    for (size_t s = 0; s < cluster->size(); ++s) {
      ASSERT_EQ(RestoreShard(dir, manifest, kJob, &cluster->shard(s)).ToString(), "ok");
    }
  }

  std::string dir_;
};

TEST_P(TypedRowsTest, ARestoredTableGoesOnWithTheSameBitsUnderEveryOptimizer) {
  for (const char* optimizer : kOptimizers) {
    const std::vector<TableSettings> tables = Tables(optimizer, GetParam());
    Cluster one(1, tables);
    Train(one, 0, 0, 4, 2);
    const std::string saved = one.Checkpoint(Dir("one"), kJob).value();
    std::string report;
    EXPECT_EQ(VerifyCheckpoint(Dir("one"), &report).ToString(), "ok");

    Cluster three(3, tables);
    RestoreAll(Dir("one"), &three);
    EXPECT_EQ(three.Checkpoint(Dir("three"), kJob).value(), saved) << optimizer;
    Train(one, 0, 4, 7, 3);
    Train(three, 0, 4, 7, 3);
    const std::string next = one.Checkpoint(Dir("one-next"), kJob).value();
    EXPECT_NE(next, saved);
    EXPECT_EQ(three.Checkpoint(Dir("three-next"), kJob).value(), next) << optimizer;

    Cluster fresh(3, tables);  // never stopped, in three shards from the beginning
    Train(fresh, 0, 0, 4, 2);
    Train(fresh, 0, 4, 7, 3);
    EXPECT_EQ(fresh.Checkpoint(Dir("fresh"), kJob).value(), next) << optimizer;
  }
}

// The bytes of each key's row, as pulled; a table's dimension tells its rows' size.
std::map<uint64_t, std::vector<std::byte>> Pulled(Cluster& cluster, uint64_t version,
                                                  const std::vector<TableSettings>& tables) {
  Payload keys(2);
  for (uint64_t k = 0; k < 60; ++k) {  // some without a row
    keys[0].keys.push_back(k);
    keys[1].keys.push_back(1000 + k);
  }
  std::map<uint64_t, std::vector<std::byte>> rows;
  for (size_t s = 0; s < cluster.size(); ++s) {
    const Payload part = cluster.PartOf(s, keys);
    const Answer answer = cluster.Ask(s, Header(FrameType::kPull, 0, version), part);
    EXPECT_EQ(answer.type(), FrameType::kPullReply) << answer.frame.error_message();
    for (size_t t = 0; t < answer.frame.sections().size(); ++t) {
      const SectionView& section = answer.frame.sections()[t];
      EXPECT_EQ(section.element, tables[t].element_type);
      const size_t bytes = WeightBytes(section.element, section.dim);
      for (size_t i = 0; i < part[t].keys.size(); ++i) {
        const auto row = section.weights.subspan(i * bytes, bytes);
        rows[part[t].keys[i]].assign(row.begin(), row.end());
      }
    }
  }
  return rows;
}

TEST_P(TypedRowsTest, AnyNumberOfShardsAnswersWithTheSameBytes) {
  const std::vector<TableSettings> tables = Tables(kOptimizers[3], GetParam());
  Cluster one(1, tables), three(3, tables);
  Train(one, 0, 0, 5, 2);
  Train(three, 0, 0, 5, 2);
  for (const uint64_t version : {4u, 5u}) {  // the one before is answered too
    const auto rows = Pulled(one, version, tables);
    EXPECT_EQ(rows.size(), 120u);
    EXPECT_EQ(Pulled(three, version, tables), rows);
  }
  EXPECT_NE(Pulled(one, 4, tables), Pulled(one, 5, tables));
}

// What a pull is answered with is what the row holds, or would start from.
TEST_P(TypedRowsTest, AKeyWithoutARowReadsAsTheRowThatItWouldGet) {
  for (const TableSettings& settings : Tables(kOptimizers[0], GetParam())) {
    Table table(settings, 1, {PartitionId(0)});
    const std::vector<uint64_t> keys = {3, 0, ~0ull, 17};
    std::vector<Slot> slots(keys.size());
    std::vector<std::byte> before(keys.size() * table.weight_bytes()), after = before;
    std::vector<float> decoded(keys.size() * settings.dim), read = decoded;
    table.Find(keys, slots);
    table.ReadRaw(keys, slots, 1, before, {});
    table.FindOrCreate(keys, slots);
    table.ReadRaw(keys, slots, 1, after, {});
    EXPECT_EQ(before, after);
    table.Read(keys, slots, 1, read, {});
    DecodeRows(GetParam(), after.data(), keys.size(), settings.dim, decoded.data());
    EXPECT_EQ(read, decoded);
  }
}

TEST_P(TypedRowsTest, ACheckpointOfAnotherElementTypeIsRefused) {
  Cluster source(1, Tables("sgd {}", GetParam()));
  Train(source, 0, 0, 1, 1);
  ASSERT_TRUE(source.Checkpoint(Dir("source"), kJob).ok());
  const spec::ElementType other = GetParam() == spec::FP16 ? spec::BF16 : spec::FP16;
  Cluster target(1, Tables("sgd {}", other));
  const Status status = RestoreShard(Dir("source"), runtime::ReadManifest(Dir("source")).value(),
                                     kJob, &target.shard(0));
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("table item is not what the job says"), std::string::npos)
      << status.ToString();
}

INSTANTIATE_TEST_SUITE_P(Types, TypedRowsTest, ::testing::ValuesIn(kTypes),
                         [](const auto& info) { return spec::ElementType_Name(info.param); });

}  // namespace
}  // namespace emporium::ps
