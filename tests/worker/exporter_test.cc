#include "worker/exporter.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "runtime/file.h"
#include "tests/source_dir.h"
#include "tests/worker/eval_fakes.h"
#include "tests/worker/vector_fakes.h"
#include "worker/bodies.h"
#include "worker/id_map.h"
#include "worker/npy.h"
#include "worker/query.h"
#include "worker/vector_index.h"

namespace emporium::worker {
namespace {

namespace fs = std::filesystem;

// Rows that are given vectors; the fake model takes them as item vectors as they are.
class VectorRows : public FakeRows {
 public:
  explicit VectorRows(const FakeVectors& v) : FakeRows(v.width), vectors_(v) {}
  Status Fetch(const std::vector<TableKeys>& tables, RowBuffer* out) override {
    EMPORIUM_RETURN_IF_ERROR(FakeRows::Fetch(tables, out));
    for (size_t t = 0; t < tables.size(); ++t) {
      for (size_t r = 0; r < tables[t].keys.size(); ++r) {
        std::copy_n(&vectors_.items[tables[t].keys[r] * vectors_.width], vectors_.width,
                    &out->values[t][r * vectors_.width]);
      }
    }
    return Status::Ok();
  }

 private:
  const FakeVectors& vectors_;
};

class ExporterTest : public ::testing::Test {
 protected:
  static constexpr int32_t kItems = 900;
  static constexpr int32_t kUsers = 120;

  ExporterTest() : vectors_(MakeVectors(kItems, 1, 17, 1)), data_(Events()), rows_(vectors_) {
    data_.titles[0] = "a title\twith a tab";
    job_.set_name("test");
    job_.mutable_model()->mutable_two_tower()->mutable_popularity();
    job_.mutable_data()->mutable_split()->mutable_leave_one_out();
    spec::Stage* stage = job_.add_stage();
    stage->set_name("index");
    stage->mutable_export_()->set_recall_k(50);
    stage->mutable_export_()->set_recall_sample(40);
    job_.add_stage()->mutable_evaluate();
  }
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / ("export_" + std::to_string(getpid()));
    dir_ = (root_ / "index").string();
  }
  void TearDown() override { fs::remove_all(root_); }

  static std::vector<FakeEvent> Events() {
    std::mt19937 random(3);
    std::vector<FakeEvent> events;
    for (int e = 0; e < kItems; ++e) {  // every item occurs
      events.push_back({"u" + std::to_string(random() % kUsers), "i" + std::to_string(e), 1.0 * e});
    }
    return events;
  }

  Result<std::vector<control::Metric>> Export(int32_t chunk_size) {
    const FakeSource source(data_, chunk_size);
    Bodies bodies(job_, source, std::make_unique<FakeModel>(vectors_.width), root_.string());
    bodies.Begin();
    std::vector<std::string> blobs(bodies.Chunks(StageId(0), false).value());
    for (size_t c = 0; c < blobs.size(); ++c) {
      auto blob = bodies.ExportChunk(StageId(0), static_cast<int64_t>(c), rows_);
      if (!blob.ok()) return blob.status();
      blobs[c] = *blob;
    }
    return bodies.CombineExport(StageId(0),
                                [&](int64_t c) -> Result<std::string> { return blobs[c]; });
  }

  FakeVectors vectors_;
  FakeDataset data_;
  VectorRows rows_;
  spec::Job job_;
  fs::path root_;
  std::string dir_;
};

TEST_F(ExporterTest, WritesVectorsIdsIndexAndManifest) {
  const auto metrics = Export(100);
  ASSERT_TRUE(metrics.ok()) << metrics.status().ToString();
  std::map<std::string, double> by_name;
  for (const control::Metric& m : *metrics) by_name[m.name] = m.value;
  EXPECT_EQ(by_name.at("items"), kItems);
  EXPECT_EQ(by_name.at("users"), data_.users());
  EXPECT_GE(by_name.at("recall@50"), 0.95);

  const auto manifest = ReadExportManifest(dir_);
  ASSERT_TRUE(manifest.ok()) << manifest.status().ToString();
  EXPECT_EQ(manifest->width(), 17u);
  EXPECT_EQ(manifest->popularity_width(), 1u);
  EXPECT_EQ(manifest->recall(), by_name.at("recall@50"));
  EXPECT_EQ(manifest->file_size(), 5);
  const auto items = NpyReader::Open(dir_ + "/items.npy");
  ASSERT_TRUE(items.ok());
  EXPECT_EQ(*items->Read(0, kItems), vectors_.items);
  const auto ids = ParseIdMap("", *runtime::ReadFile(dir_ + "/item_ids.tsv"));
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(ids->title[0], "a title\twith a tab");
  EXPECT_EQ(ids->id[5], data_.item_id(5));
  EXPECT_FALSE(fs::exists(dir_ + ".tmp"));
}

TEST_F(ExporterTest, SameFilesForAnyChunksAndAReRunReplaces) {
  ASSERT_TRUE(Export(100).ok());
  std::map<std::string, std::string> first;
  for (const auto& entry : fs::directory_iterator(dir_)) {
    first[entry.path().filename()] = *runtime::ReadFile(entry.path());
  }
  std::ofstream(dir_ + "/left_over") << "of an older export";
  fs::create_directories(dir_ + ".tmp/of_a_crash");
  ASSERT_TRUE(Export(7).ok());
  std::map<std::string, std::string> second;
  for (const auto& entry : fs::directory_iterator(dir_)) {
    second[entry.path().filename()] = *runtime::ReadFile(entry.path());
  }
  EXPECT_EQ(first, second);
  EXPECT_FALSE(fs::exists(dir_ + ".old"));
}

// Every kind of index, read by the Python packages of the two libraries.
TEST_F(ExporterTest, PythonFindsTheSameRecall) {
  const std::string script = (TestsFolder() / "python" / "check_index.py").string();
  for (const auto kind :
       {spec::Export::FLAT, spec::Export::IVF, spec::Export::HNSW, spec::Export::HNSWLIB}) {
    job_.mutable_stage(0)->mutable_export_()->set_index(kind);
    ASSERT_TRUE(Export(100).ok());
    const std::string least = kind == spec::Export::IVF ? "0.5" : "0.95";
    const std::string command =
        "/usr/bin/python3 '" + script + "' '" + dir_ + "' " + least + " 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }
}

TEST_F(ExporterTest, RefusesPointwiseModelsOtherStagesAndBadNames) {
  const FakeSource source(data_, 100);
  FakeModel pointwise(0);
  Exporter none(job_, source, pointwise, root_.string());
  EXPECT_EQ(none.Chunk(StageId(0), 0, rows_).status().code(), StatusCode::kInvalidArgument);
  FakeModel model(17);
  Exporter exporter(job_, source, model, root_.string());
  EXPECT_EQ(exporter.Chunk(StageId(1), 0, rows_).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(exporter.Chunk(StageId(9), 0, rows_).status().code(), StatusCode::kInvalidArgument);
  job_.mutable_stage(0)->set_name("../up");
  EXPECT_EQ(exporter.Chunk(StageId(0), 0, rows_).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(ExporterTest, RefusesVectorsThatAreNotFinite) {
  vectors_.items[3 * 17] = std::nanf("");
  EXPECT_EQ(Export(100).status().code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(fs::exists(dir_));
}

TEST_F(ExporterTest, CombineRefusesForeignChunksAndLeavesTheOldExport) {
  ASSERT_TRUE(Export(100).ok());
  const std::string before = *runtime::ReadFile(dir_ + "/MANIFEST");
  const FakeSource source(data_, 100);
  FakeModel model(17);
  const Exporter exporter(job_, source, model, root_.string());
  VectorChunk chunk;
  chunk.width = 17;
  chunk.numbers = {1};  // the first chunk starts at item 0
  chunk.values.assign(17, 1.0f);
  for (const std::string& blob : {std::string("garbage"), Encode(chunk)}) {
    const auto refused =
        exporter.Combine(StageId(0), [&](int64_t) -> Result<std::string> { return blob; });
    EXPECT_EQ(refused.status().code(), StatusCode::kDataLoss);
  }
  const auto failed = exporter.Combine(
      StageId(0), [&](int64_t) -> Result<std::string> { return Unavailable("gone"); });
  EXPECT_EQ(failed.status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(before, *runtime::ReadFile(dir_ + "/MANIFEST"));
}

TEST(VectorBlob, EveryTruncationAndForeignShapeIsRefused) {
  VectorChunk chunk;
  chunk.kind = VectorKind::kUsers;
  chunk.width = 2;
  chunk.numbers = {4, 9};
  chunk.values = {1, 2, 3, 4};
  const std::string blob = Encode(chunk);
  const auto back = DecodeVectors(blob, VectorKind::kUsers, 2);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->numbers, chunk.numbers);
  EXPECT_EQ(back->values, chunk.values);
  for (size_t bytes = 0; bytes < blob.size(); ++bytes) {
    EXPECT_FALSE(DecodeVectors(blob.substr(0, bytes), VectorKind::kUsers, 2).ok());
  }
  EXPECT_FALSE(DecodeVectors(blob + "x", VectorKind::kUsers, 2).ok());
  EXPECT_FALSE(DecodeVectors(blob, VectorKind::kItems, 2).ok());
  EXPECT_FALSE(DecodeVectors(blob, VectorKind::kUsers, 3).ok());
  chunk.numbers = {9, 4};
  EXPECT_FALSE(DecodeVectors(Encode(chunk), VectorKind::kUsers, 2).ok());
  chunk.numbers = {4, 9};
  chunk.values[0] = INFINITY;
  EXPECT_FALSE(DecodeVectors(Encode(chunk), VectorKind::kUsers, 2).ok());
}

TEST(IdMap, KeepsAnyText) {
  IdMapWriter writer(true);
  writer.Add("a\tb\\n", "line\nbreak\r");
  writer.Add("", "");
  const auto map = ParseIdMap("m", writer.text());
  ASSERT_TRUE(map.ok()) << map.status().ToString();
  EXPECT_EQ(map->id, (std::vector<std::string>{"a\tb\\n", ""}));
  EXPECT_EQ(map->title, (std::vector<std::string>{"line\nbreak\r", ""}));
  EXPECT_EQ(map->row.at("a\tb\\n"), 0);
  for (const char* bad :
       {"", "row\tid", "x\n", "row\tid\n1\ta\n", "row\tid\n0\n", "row\tid\n0\ta"}) {
    EXPECT_EQ(ParseIdMap("m", bad).status().code(), StatusCode::kDataLoss) << bad;
  }
}

}  // namespace
}  // namespace emporium::worker
