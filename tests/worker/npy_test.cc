#include "worker/npy.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "runtime/file.h"

namespace emporium::worker {
namespace {

namespace fs = std::filesystem;

class NpyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::path(testing::TempDir()) / ("npy_" + std::to_string(getpid()));
    fs::create_directories(dir_);
    path_ = (dir_ / "m.npy").string();
  }
  void TearDown() override { fs::remove_all(dir_); }

  fs::path dir_;
  std::string path_;
};

TEST_F(NpyTest, ReadsWhatWasWritten) {
  auto writer = NpyWriter::Create(path_, 3);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->Append(std::vector<float>{1, 2, 3, 4, 5, 6}).ok());
  ASSERT_TRUE(writer->Append({}).ok());
  ASSERT_TRUE(writer->Append(std::vector<float>{7, 8, 9}).ok());
  ASSERT_TRUE(writer->Finish().ok());
  auto reader = NpyReader::Open(path_);
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  EXPECT_EQ(reader->rows(), 3);
  EXPECT_EQ(reader->width(), 3);
  EXPECT_EQ(*reader->Read(1, 2), (std::vector<float>{4, 5, 6, 7, 8, 9}));
  EXPECT_TRUE(reader->Read(3, 0)->empty());
}

TEST_F(NpyTest, HeaderIsAsNumpyWritesIt) {
  auto writer = NpyWriter::Create(path_, 2);
  ASSERT_TRUE(writer->Append(std::vector<float>{1, 2}).ok());
  ASSERT_TRUE(writer->Finish().ok());
  const std::string bytes = *runtime::ReadFile(path_);
  ASSERT_EQ(bytes.size(), 128u + 8);
  std::string want(
      "\x93NUMPY\x01\0\x76\0{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", 69);
  want.resize(127, ' ');
  want += '\n';
  EXPECT_EQ(bytes.substr(0, 128), want);
}

TEST_F(NpyTest, RefusesOtherFiles) {
  EXPECT_EQ(NpyReader::Open(path_).status().code(), StatusCode::kNotFound);
  auto writer = NpyWriter::Create(path_, 2);
  ASSERT_TRUE(writer->Append(std::vector<float>{1, 2, 3, 4}).ok());
  ASSERT_TRUE(writer->Finish().ok());
  const std::string good = *runtime::ReadFile(path_);
  auto open = [&](const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    return NpyReader::Open(path_).status().code();
  };
  ASSERT_EQ(open(good), StatusCode::kOk);
  for (const size_t bytes : {0, 5, 10, 100, 127, 128, 143}) {
    EXPECT_EQ(open(good.substr(0, bytes)), StatusCode::kDataLoss) << bytes;
  }
  EXPECT_EQ(open(good + "x"), StatusCode::kDataLoss);
  std::string doubles = good;
  doubles.replace(doubles.find("<f4"), 3, "<f8");
  EXPECT_EQ(open(doubles), StatusCode::kDataLoss);
}

TEST_F(NpyTest, SaysWhereItCannotWrite) {
  const Status status = NpyWriter::Create(path_ + "/no/such/m.npy", 2).status();
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find("no/such/m.npy"), std::string::npos);
  // A device that is always full.
  auto full = NpyWriter::Create("/dev/full", 1);
  ASSERT_TRUE(full.ok());
  const std::vector<float> rows(100000, 1.0f);
  Status written = full->Append(rows);
  if (written.ok()) written = full->Finish();
  EXPECT_EQ(written.code(), StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace emporium::worker
