// Checkpoints as directories: a manifest is whole or refused, damage is passed over and told, and
// only what is old is removed.
#include "runtime/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtime/file.h"

namespace emporium::runtime {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class ManifestTest : public testing::Test {
 protected:
  void SetUp() override {
    // In memory where there is such a place: every file is synced.
    const fs::path scratch = fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
    root_ = (scratch / ("emporium-manifest-" + std::to_string(::getpid()))).string();
    fs::remove_all(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  // A checkpoint with two files, the second as they were up to format 3.
  spec::CheckpointManifest Make(uint64_t number, const std::string& job = "job") {
    const std::string dir = CheckpointDir(root_, number);
    fs::create_directories(dir);
    spec::CheckpointManifest manifest;
    manifest.set_number(number);
    manifest.set_job_name("films");
    manifest.set_job_fingerprint(job);
    manifest.set_scheduler_state(std::string("\0\xff\"\n", 4));
    manifest.set_job_text("name: \"films\"  # \xc3\xa9\n");
    for (const char* name : {"shard-0.h5", "shard-1.h5"}) {
      const std::string bytes = std::string(name) + std::to_string(number);
      const std::string path = dir + "/" + name;
      EXPECT_TRUE(WriteFileDurably(path, bytes).ok());
      spec::ManifestFile* file = manifest.add_file();
      file->set_path(name);
      file->set_bytes(bytes.size());
      if (manifest.file_size() == 1) {
        file->set_xxh3(Xxh3OfFile(path).value());
      } else {
        file->set_sha256(Sha256(bytes));
      }
    }
    EXPECT_TRUE(WriteManifest(dir, manifest).ok());
    return manifest;
  }
  void Overwrite(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }
  std::vector<uint64_t> Numbers() {
    std::vector<uint64_t> numbers;
    const std::vector<CheckpointInfo> all = ListCheckpoints(root_).value();
    for (const CheckpointInfo& info : all) numbers.push_back(info.number);
    return numbers;
  }

  std::string root_;
};

TEST_F(ManifestTest, ComesBackAsItWasWritten) {
  const spec::CheckpointManifest manifest = Make(7);
  const std::string dir = CheckpointDir(root_, 7);
  EXPECT_TRUE(dir.ends_with("/checkpoint-000007")) << dir;
  const Result<spec::CheckpointManifest> read = ReadManifest(dir);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->SerializeAsString(), manifest.SerializeAsString());
  EXPECT_EQ(VerifyFiles(dir, *read).ToString(), "ok");
}

TEST_F(ManifestTest, EveryTruncationAndFlippedBitIsSeen) {
  Make(1);
  const std::string dir = CheckpointDir(root_, 1);
  const std::string path = dir + "/" + kManifestName;
  const std::string whole = ReadFile(path).value();
  for (size_t n = 0; n < whole.size(); ++n) {
    Overwrite(path, whole.substr(0, n));
    EXPECT_EQ(ReadManifest(dir).status().code(), StatusCode::kDataLoss) << n;
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    Overwrite(path, bytes);
    EXPECT_EQ(ReadManifest(dir).status().code(), StatusCode::kDataLoss) << at;
  }
  fs::remove(path);
  EXPECT_EQ(ReadManifest(dir).status().code(), StatusCode::kNotFound);
}

TEST_F(ManifestTest, WhatIsSealedMustStillMakeSense) {
  Make(1);
  const std::string dir = CheckpointDir(root_, 1);
  auto seal = [&](const std::string& text) {
    ASSERT_TRUE(WriteSealed(dir + "/" + kManifestName, text).ok());
  };
  seal("number: 1 no_such_field: 2");
  EXPECT_EQ(ReadManifest(dir).status().code(), StatusCode::kDataLoss);
  seal("format: 99");
  EXPECT_THAT(ReadManifest(dir).status().message(), HasSubstr("format 99"));
  for (const char* path : {"/etc/passwd", "../x", "..", "", "a/b"}) {
    seal("file { path: \"" + std::string(path) + "\" }");
    EXPECT_THAT(ReadManifest(dir).status().message(), HasSubstr("outside")) << path;
  }
}

TEST_F(ManifestTest, FilesAreLookedAt) {
  const spec::CheckpointManifest manifest = Make(1);
  const std::string dir = CheckpointDir(root_, 1);
  const std::string path = dir + "/shard-1.h5";
  const std::string whole = ReadFile(path).value();
  Overwrite(path, whole + "x");
  EXPECT_THAT(VerifyFiles(dir, manifest).message(),
              AllOf(HasSubstr("shard-1.h5: has 12 bytes"), HasSubstr("says 11")));
  std::string flipped = whole;
  flipped[3] ^= 1;
  Overwrite(path, flipped);
  EXPECT_THAT(VerifyFiles(dir, manifest).message(),
              HasSubstr("shard-1.h5: bytes were changed (SHA-256"));
  Overwrite(path, whole);
  Overwrite(dir + "/shard-0.h5", "shard-0.h5X");
  EXPECT_THAT(VerifyFiles(dir, manifest).message(),
              HasSubstr("shard-0.h5: bytes were changed (XXH3"));
  fs::remove(path);
  EXPECT_THAT(VerifyFiles(dir, manifest).message(), HasSubstr("shard-1.h5: missing"));
}

TEST_F(ManifestTest, TheNewestWholeOneIsFound) {
  std::vector<std::string> passed_over;
  EXPECT_FALSE(NewestCheckpoint(root_, "job", &passed_over).value().has_value());
  for (uint64_t n : {3u, 10u, 2u, 11u, 12u}) Make(n);
  fs::create_directories(root_ + "/checkpoint-13");      // in the making, or given up
  fs::create_directories(root_ + "/checkpoint-banana");  // not one of ours
  Overwrite(CheckpointDir(root_, 12) + "/shard-0.h5", "shard-0.h5XY");
  Overwrite(CheckpointDir(root_, 11) + "/" + kManifestName, "nonsense");
  EXPECT_THAT(Numbers(), ElementsAre(2, 3, 10, 11, 12, 13));
  const std::optional<CheckpointInfo> newest = NewestCheckpoint(root_, "job", &passed_over).value();
  ASSERT_TRUE(newest.has_value());
  EXPECT_EQ(newest->number, 10u);
  EXPECT_THAT(passed_over,
              ElementsAre(HasSubstr("checkpoint-13"), HasSubstr("000012"), HasSubstr("000011")));
  Make(14, "another job");
  const Status other = NewestCheckpoint(root_, "job", &passed_over).status();
  EXPECT_EQ(other.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(other.message(), AllOf(HasSubstr("another job"), HasSubstr("000014")));
}

TEST_F(ManifestTest, OnlyWhatIsOldIsRemoved) {
  for (uint64_t n = 1; n <= 6; ++n) Make(n);
  fs::remove(CheckpointDir(root_, 5) + "/" + kManifestName);
  fs::create_directories(CheckpointDir(root_, 7));
  ASSERT_TRUE(PruneCheckpoints(root_, 2, 3).ok());
  EXPECT_THAT(Numbers(), ElementsAre(3, 4, 5, 6, 7));
  Make(7);
  ASSERT_TRUE(PruneCheckpoints(root_, 2, std::nullopt).ok());
  EXPECT_THAT(Numbers(), ElementsAre(6, 7));
  ASSERT_TRUE(PruneCheckpoints(root_ + "/none", 2, std::nullopt).ok());
}

TEST(ContentDigestTest, NeedsEveryPartitionOnce) {
  std::map<PartitionId, std::string> digests;
  for (uint16_t p = 0; p < 4; ++p) digests[PartitionId(p)] = std::string(32, static_cast<char>(p));
  const Result<std::string> digest = ContentDigest(digests, 4);
  ASSERT_TRUE(digest.ok());
  EXPECT_THAT(*digest, SizeIs(64));
  EXPECT_FALSE(ContentDigest(digests, 8).ok());
  digests.erase(PartitionId(2));
  EXPECT_THAT(ContentDigest(digests, 4).status().message(), HasSubstr("partition 2"));
  EXPECT_FALSE(ContentDigest({{PartitionId(0), "short"}}, 1).ok());
}

}  // namespace
}  // namespace emporium::runtime
