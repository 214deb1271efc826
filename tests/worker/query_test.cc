#include "worker/query.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "runtime/file.h"
#include "tests/worker/eval_fakes.h"
#include "worker/exporter.h"

namespace emporium::worker {
namespace {

namespace fs = std::filesystem;
constexpr int32_t kWidth = 6;

class QueryTest : public ::testing::Test {
 protected:
  QueryTest() : data_(Events()), rows_(kWidth) {
    data_.titles[2] = "The Second";
    job_.mutable_model()->mutable_two_tower()->mutable_popularity();
    job_.add_stage()->set_name("out");
    job_.mutable_stage(0)->mutable_export_()->set_index(spec::Export::FLAT);
  }
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / ("query_" + std::to_string(getpid()));
    dir_ = (root_ / "out").string();
    const FakeSource source(data_, 10);
    FakeModel model(kWidth);
    Exporter exporter(job_, source, model, root_.string());
    const auto done = exporter.Combine(
        StageId(0), [&](int64_t chunk) { return exporter.Chunk(StageId(0), chunk, rows_); });
    ASSERT_TRUE(done.ok()) << done.status().ToString();
  }
  void TearDown() override { fs::remove_all(root_); }

  static std::vector<FakeEvent> Events() {
    std::vector<FakeEvent> events;
    for (int e = 0; e < 60; ++e) {
      events.push_back({"u" + std::to_string(e % 7), "i" + std::to_string(e % 25), 1.0 * e});
    }
    return events;
  }
  float Product(const std::vector<float>& a, const std::vector<float>& b, int32_t width) const {
    float sum = 0;
    for (int32_t d = 0; d < width; ++d) sum += a[d] * b[d];
    return sum;
  }

  FakeDataset data_;
  FakeRows rows_;
  spec::Job job_;
  fs::path root_;
  std::string dir_;
};

TEST_F(QueryTest, BestItemsOfAUserWithAndWithoutWhatHeHad) {
  auto query = ExportQuery::Open(dir_);
  ASSERT_TRUE(query.ok()) << query.status().ToString();
  const int32_t user = data_.FindUser("u3");
  std::set<std::string> had;
  std::vector<float> vector(kWidth, 0);
  for (const int32_t e : data_.events_of_user(user)) {
    const int32_t item = data_.event_item()[e];
    if (!had.insert(std::string(data_.item_id(item))).second) continue;
    for (int32_t d = 0; d < kWidth; ++d) vector[d] += rows_.Row(item)[d];
  }
  for (const bool leave_out : {false, true}) {
    const auto found = (*query)->ForUser("u3", 100, leave_out ? &data_ : nullptr);
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->size(), leave_out ? 25 - had.size() : 25);
    for (size_t i = 0; i < found->size(); ++i) {
      const Recommendation& r = (*found)[i];
      EXPECT_NEAR(r.score, Product(vector, rows_.Row(data_.FindItem(r.id)), kWidth), 1e-4);
      EXPECT_LE(r.score, (*found)[i == 0 ? 0 : i - 1].score);
      EXPECT_EQ(r.title, data_.item_title(data_.FindItem(r.id)));
      if (leave_out) {
        EXPECT_EQ(had.count(r.id), 0u);
      }
    }
    EXPECT_EQ((*query)->ForUser("u3", 4, leave_out ? &data_ : nullptr)->size(), 4u);
  }
}

TEST_F(QueryTest, ItemsLikeAnItemWithoutThePopularityPart) {
  auto query = ExportQuery::Open(dir_);
  ASSERT_TRUE(query.ok());
  const auto found = (*query)->ForItem("i4", 3);
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 3u);
  std::string best;
  float best_cosine = -2;
  const std::vector<float> self = rows_.Row(data_.FindItem("i4"));
  for (int32_t i = 0; i < data_.items(); ++i) {
    const std::vector<float> other = rows_.Row(i);
    if (data_.item_id(i) == "i4") continue;
    const float cosine =
        Product(self, other, kWidth - 1) /
        std::sqrt(Product(self, self, kWidth - 1) * Product(other, other, kWidth - 1));
    if (cosine > best_cosine) {
      best_cosine = cosine;
      best = data_.item_id(i);
    }
  }
  EXPECT_EQ((*found)[0].id, best);
  EXPECT_NEAR((*found)[0].score, best_cosine, 1e-5);
}

TEST_F(QueryTest, SaysWhatIsUnknown) {
  auto query = ExportQuery::Open(dir_);
  ASSERT_TRUE(query.ok());
  const Status user = (*query)->ForUser("nobody", 10, nullptr).status();
  EXPECT_EQ(user.code(), StatusCode::kNotFound);
  EXPECT_NE(user.message().find("user \"nobody\""), std::string::npos);
  const Status item = (*query)->ForItem("nothing", 10).status();
  EXPECT_EQ(item.code(), StatusCode::kNotFound);
  EXPECT_NE(item.message().find("item \"nothing\""), std::string::npos);
  EXPECT_EQ((*query)->ForUser("u1", 0, nullptr).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(QueryTest, NothingThatIsNotAWholeExportIsBelieved) {
  EXPECT_EQ(ExportQuery::Open(root_.string()).status().code(), StatusCode::kNotFound);
  for (const auto& entry : fs::directory_iterator(dir_)) {
    const std::string path = entry.path().string();
    const std::string good = *runtime::ReadFile(path);
    std::string flipped = good;
    flipped[flipped.size() / 2] ^= 1;
    std::ofstream(path, std::ios::binary) << flipped;
    const Status damaged = ExportQuery::Open(dir_).status();
    EXPECT_EQ(damaged.code(), StatusCode::kDataLoss) << path;
    EXPECT_NE(damaged.message().find(entry.path().filename().string()), std::string::npos);
    fs::remove(path);
    EXPECT_EQ(ExportQuery::Open(dir_).status().code(), StatusCode::kNotFound) << path;
    std::ofstream(path, std::ios::binary) << good;
  }
  EXPECT_TRUE(ExportQuery::Open(dir_).ok());
}

}  // namespace
}  // namespace emporium::worker
