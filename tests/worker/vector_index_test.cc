#include "worker/vector_index.h"

#include <gtest/gtest.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "runtime/file.h"
#include "tests/worker/vector_fakes.h"
#include "worker/ranking.h"

namespace emporium::worker {
namespace {

namespace fs = std::filesystem;
using Kind = spec::Export::Index;

class VectorIndexTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    dir_ = fs::path(testing::TempDir()) / ("index_" + std::to_string(getpid()));
    fs::create_directories(dir_);
    path_ = (dir_ / "index").string();
    settings_.set_index(GetParam());
  }
  void TearDown() override { fs::remove_all(dir_); }
  Result<std::unique_ptr<VectorIndex>> Open(int32_t width) const {
    return OpenIndex(spec::Export::Index_Name(GetParam()), path_, width, SearchEffort(settings_));
  }

  fs::path dir_;
  std::string path_;
  spec::Export settings_;
};

TEST_P(VectorIndexTest, FindsTheBestItemsAlsoWhenLengthsDiffer) {
  for (const float popularity : {0.0f, 0.3f, 1.5f}) {
    const FakeVectors v = MakeVectors(3000, 100, 33, popularity);
    ASSERT_TRUE(BuildIndex(settings_, v.items, v.width, path_).ok());
    auto index = Open(v.width);
    ASSERT_TRUE(index.ok()) << index.status().ToString();
    ItemMatrix matrix(3000, v.width);
    matrix.Set(0, v.items);
    std::vector<float> scores(3000);
    double hits = 0;
    for (int u = 0; u < 100; ++u) {
      const auto user = std::span(v.users).subspan(u * v.width, v.width);
      ASSERT_TRUE(matrix.Score(user, scores).ok());
      const auto best = TopItems(scores, {}, 100);
      const std::set<int32_t> exact(best.begin(), best.end());
      const auto found = (*index)->Search(user, 100);
      ASSERT_TRUE(found.ok());
      ASSERT_EQ(found->size(), 100u);
      for (size_t i = 0; i < found->size(); ++i) {
        const Neighbour& n = (*found)[i];
        hits += exact.count(n.item);
        EXPECT_NEAR(n.score, scores[n.item], 1e-4f);
        EXPECT_GE((*found)[i == 0 ? 0 : i - 1].score, n.score);
      }
    }
    const double recall = hits / 100 / 100;
    EXPECT_GE(recall, GetParam() == spec::Export::FLAT  ? 0.9999
                      : GetParam() == spec::Export::IVF ? 0.8
                                                        : 0.97)
        << popularity;
  }
}

TEST_P(VectorIndexTest, IsAFunctionOfVectorsAndSettings) {
  const FakeVectors v = MakeVectors(500, 1, 17, 1);
  ASSERT_TRUE(BuildIndex(settings_, v.items, v.width, path_).ok());
  const std::string first = *runtime::ReadFile(path_);
  ASSERT_TRUE(BuildIndex(settings_, v.items, v.width, path_).ok());
  EXPECT_EQ(first, *runtime::ReadFile(path_));
}

TEST_P(VectorIndexTest, SmallCatalogues) {
  for (const int items : {1, 2, 30}) {
    const FakeVectors v = MakeVectors(items, 1, 5, 1);
    ASSERT_TRUE(BuildIndex(settings_, v.items, v.width, path_).ok());
    auto index = Open(v.width);
    ASSERT_TRUE(index.ok()) << index.status().ToString();
    const size_t found = (*index)->Search(v.users, 100)->size();
    EXPECT_LE(found, static_cast<size_t>(items));
    // An IVF search sees only the lists that it probes.
    EXPECT_GE(found, GetParam() == spec::Export::IVF ? 1 : static_cast<size_t>(items));
    EXPECT_TRUE((*index)->Search(v.users, 0)->empty());
  }
}

TEST_P(VectorIndexTest, RefusesOtherFilesAndWidths) {
  const FakeVectors v = MakeVectors(50, 1, 5, 1);
  ASSERT_TRUE(BuildIndex(settings_, v.items, v.width, path_).ok());
  EXPECT_EQ(Open(v.width + 1).status().code(), StatusCode::kDataLoss);
  const std::string bytes = *runtime::ReadFile(path_);
#ifdef __SANITIZE_ADDRESS__
  // Faiss 1.7.3 and hnswlib 0.6.2 lose what they had read before they found a file to be broken.
  const __lsan::ScopedDisabler not_our_leaks;
#endif
  for (const size_t length : {size_t{0}, size_t{50}, bytes.size() - 1}) {
    std::ofstream(path_, std::ios::binary) << bytes.substr(0, length);
    EXPECT_EQ(Open(v.width).status().code(), StatusCode::kDataLoss) << length;
  }
  fs::remove(path_);
  EXPECT_EQ(Open(v.width).status().code(), StatusCode::kDataLoss);
  EXPECT_FALSE(BuildIndex(settings_, v.items, v.width, path_ + "/no/such").ok());
}

INSTANTIATE_TEST_SUITE_P(Kinds, VectorIndexTest,
                         ::testing::Values(spec::Export::FLAT, spec::Export::IVF,
                                           spec::Export::HNSW, spec::Export::HNSWLIB),
                         [](const auto& info) { return spec::Export::Index_Name(info.param); });

TEST(OpenIndex, RefusesAnUnknownKind) {
  EXPECT_EQ(OpenIndex("TREE", "index", 4, 1).status().code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace emporium::worker
