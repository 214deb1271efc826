#include "worker/column_file.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "tests/worker/data_fixture.h"
#include "worker/external_sort.h"

namespace emporium::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ColumnFileTest : public DataTest {
 protected:
  // A file with an array of every type, one of them of several blocks.
  void WriteFile(const std::string& path) {
    auto writer = ColumnFileWriter::Create(path, 7,
                                           {{"bytes", Element::kU8, 5},
                                            {"none", Element::kI64, 0},
                                            {"codes", Element::kI32, 700'000},
                                            {"floats", Element::kF32, 3},
                                            {"doubles", Element::kF64, 1}});
    ASSERT_TRUE(writer.ok()) << writer.status().ToString();
    const std::string text = "hello";
    std::copy(text.begin(), text.end(), (*writer)->Array<char>("bytes").begin());
    const auto codes = (*writer)->Array<int32_t>("codes");
    std::iota(codes.begin(), codes.end(), 5);
    (*writer)->Array<float>("floats")[1] = 1.5f;
    (*writer)->Array<double>("doubles")[0] = 1e300;
    ASSERT_TRUE((*writer)->Finish().ok());
  }
};

TEST_F(ColumnFileTest, GivesBackWhatWasWritten) {
  WriteFile(Path("f"));
  EXPECT_TRUE(ColumnFile::Recognise(Path("f")));
  auto file = ColumnFile::Open(Path("f"));
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ((*file)->rows(), 7u);
  EXPECT_THAT(*(*file)->Array<char>("bytes"), ElementsAre('h', 'e', 'l', 'l', 'o'));
  EXPECT_EQ((*file)->Array<int64_t>("none")->size(), 0u);
  EXPECT_EQ((*(*file)->Array<int32_t>("codes"))[699'999], 700'004);
  EXPECT_THAT(*(*file)->Array<float>("floats"), ElementsAre(0.0f, 1.5f, 0.0f));
  EXPECT_THAT(*(*file)->Array<double>("doubles"), ElementsAre(1e300));
  EXPECT_EQ((*file)->Array<float>("codes").status().code(), StatusCode::kDataLoss);
  EXPECT_EQ((*file)->Array<float>("other").status().code(), StatusCode::kNotFound);
}

TEST_F(ColumnFileTest, EveryDamageIsSeen) {
  WriteFile(Path("f"));
  const std::string good = Read(Path("f"));
  std::mt19937_64 random(3);
  // Bytes between arrays are the only ones that mean nothing.
  for (int i = 0; i < 60; ++i) {
    const size_t at = i < 20 ? static_cast<size_t>(i) * 4 : 4096 + random() % 2'700'000;
    std::string bad = good;
    bad[at] ^= static_cast<char>(1 + random() % 255);
    Write("bad", bad);
    const auto file = ColumnFile::Open(Path("bad"));
    ASSERT_FALSE(file.ok()) << at;
    EXPECT_THAT(file.status().message(), HasSubstr("bad"));
  }
  for (const size_t keep : {good.size() - 1, good.size() / 2, size_t{64}, size_t{10}, size_t{0}}) {
    Write("bad", good.substr(0, keep));
    EXPECT_FALSE(ColumnFile::Open(Path("bad")).ok()) << keep;
  }
  EXPECT_EQ(ColumnFile::Open(Path("none")).status().code(), StatusCode::kNotFound);
}

TEST_F(ColumnFileTest, TheBytesAreTheSameEveryTime) {
  WriteFile(Path("a"));
  WriteFile(Path("b"));
  EXPECT_TRUE(Read(Path("a")) == Read(Path("b")));
}

TEST_F(ColumnFileTest, AFileThatCannotBeMadeIsAnError) {
  const auto writer = ColumnFileWriter::Create(Path("no/such/dir"), 1, {});
  EXPECT_FALSE(writer.ok());
  EXPECT_THAT(writer.status().message(), HasSubstr("no/such/dir"));
}

// The sorter against std::stable_sort, with runs from one record to all of them.
TEST_F(ColumnFileTest, SortsStablyWhateverTheRunSize) {
  std::mt19937_64 random(5);
  for (const size_t run_bytes : {size_t{1}, size_t{200}, size_t{5'000}, size_t{10 << 20}}) {
    ExternalSorter sorter(12, run_bytes, dir_.string());
    std::vector<std::pair<SortKey, uint64_t>> expected;
    for (uint64_t i = 0; i < 3'000; ++i) {
      const SortKey key{static_cast<int32_t>(random() % 2),
                        static_cast<double>(random() % 50) - 25.5};
      std::byte record[12] = {};
      std::memcpy(record, &i, sizeof i);
      ASSERT_TRUE(sorter.Add(key, record).ok());
      expected.emplace_back(key, i);
    }
    std::stable_sort(expected.begin(), expected.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    EXPECT_EQ(sorter.spilled_runs() > 0, run_bytes < (1 << 20));
    size_t at = 0;
    ASSERT_TRUE(sorter
                    .Drain([&](const SortKey& key, std::span<const std::byte> record) {
                      uint64_t i = 0;
                      std::memcpy(&i, record.data(), sizeof i);
                      EXPECT_EQ(i, expected[at].second);
                      EXPECT_EQ(key.time, expected[at].first.time);
                      ++at;
                      return Status::Ok();
                    })
                    .ok());
    EXPECT_EQ(at, expected.size());
  }
}

}  // namespace
}  // namespace emporium::worker
