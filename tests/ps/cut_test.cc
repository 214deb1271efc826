// Cuts against a twin that stands still: whatever happens to a shard while its rows are copied, the
// files are those of the moment of the cut. And checkpoints of changes against whole ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <random>

#include "ps/checkpoint.h"
#include "runtime/file.h"
#include "runtime/manifest.h"
#include "tests/ps/shard_fixture.h"

namespace emporium::ps {
namespace {

using namespace ps::testing;  // NOLINT: the fixture's names
using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr const char* kJob = "0123abcd";

// Rows are made, updated, let go (by age, popularity and number), refused and compacted.
std::vector<TableSettings> LivelyTables(bool bf16 = true) {
  std::vector<TableSettings> tables = TwoTables();
  TableSettings& item = tables[0];
  item.popularity_bytes = 2;
  item.admission_sightings = 2;
  item.sketch_bytes = 16 * 4 * 32;
  item.expiry = {.every_steps = 3, .untouched_steps = 5, .popularity_below = 0.3f, .rows = 150};
  if (bf16) tables[1].element_type = spec::BF16;
  return tables;
}

// A few keys in every step, others now and then.
Payload SomeRows(uint64_t t, uint32_t m) {
  std::mt19937_64 random(1000 * t + m);
  Payload payload(2);
  for (size_t table = 0; table < 2; ++table) {
    std::map<uint64_t, bool> used;
    for (int i = 0; i < 10; ++i) used[random() % 20] = true;
    for (int i = 0; i < 30; ++i) used[100 + 7 * t + random() % 300] = true;
    Columns& columns = payload[table];
    const size_t dim = table == 0 ? 3 : 1;
    for (const auto& [key, unused] : used) {
      columns.keys.push_back(key);
      for (size_t d = 0; d < dim; ++d) {
        columns.values.push_back(static_cast<float>(random() % 2001) / 1000.0f - 1);
      }
      if (table == 0) columns.counts.push_back(static_cast<float>(random() % 4));
    }
    for (const float count : columns.counts) columns.total += count;
  }
  return payload;
}

void TrainStep(Cluster& cluster, uint64_t t) {
  for (uint32_t m = 0; m < 2; ++m) {
    cluster.SendAll("worker", PushHeader(1, t, m, 2), SomeRows(t, m));
  }
  for (const Answer& answer : cluster.Take("worker")) {
    ASSERT_EQ(answer.type(), FrameType::kAck);
  }
}

class CutTest : public ::testing::Test {
 protected:
  std::string Dir(const std::string& name) const { return scratch_.Dir(name); }

  const Scratch scratch_{"cut"};
};

// What is copied of a shard, a piece at a time.
class Copy {
 public:
  Copy(Shard* shard, uint64_t number, uint64_t parent, size_t piece_bytes)
      : shard_(shard), cut_(shard->BeginCut(number, parent)), bytes_(piece_bytes) {}

  bool Next() {
    CutPiece piece;
    if (!shard_->NextPiece(bytes_, &piece)) return false;
    pieces_.push_back(std::move(piece));
    return true;
  }
  const Cut& cut() const { return cut_; }
  Result<ShardFileInfo> Write(const std::string& dir) {
    size_t next = 0;
    const CutSource source = [&]() -> std::optional<CutPiece> {
      if (next == pieces_.size()) return std::nullopt;
      return pieces_[next++];
    };
    return WriteShardFile(cut_, source, dir, kJob, 5);
  }

 private:
  Shard* shard_;
  const Cut cut_;
  const size_t bytes_;
  std::vector<CutPiece> pieces_;
};

TEST_F(CutTest, IsAsTheShardWasWhateverHappensMeanwhile) {
  for (const size_t piece_bytes : {1u, 300u, 1u << 20}) {
    for (const uint64_t at : {0u, 4u, 8u, 11u}) {
      SCOPED_TRACE(std::to_string(piece_bytes) + " bytes, step " + std::to_string(at));
      const bool bf16 = at % 8 == 0;
      Cluster cluster(1, LivelyTables(bf16));
      Cluster twin(1, LivelyTables(bf16));
      std::vector<Send> out;
      for (Cluster* each : {&cluster, &twin}) {
        ASSERT_TRUE(each->shard(0).ReadyForCheckpoint(StageId(1), Step(0), &out).ok());
        for (uint64_t t = 0; t < at; ++t) TrainStep(*each, t);
      }
      const ShardFileInfo still = WriteShardFile(twin.shard(0), Dir("still"), kJob, 5).value();
      Copy copy(&cluster.shard(0), 7, 0, piece_bytes);
      uint64_t t = at;
      for (int pieces = 0; copy.Next(); ++pieces) {
        if (pieces % 5 == 0 && t < at + 20) TrainStep(cluster, t++);
      }
      const Result<ShardFileInfo> moving = copy.Write(Dir("moving"));
      ASSERT_TRUE(moving.ok()) << moving.status().ToString();
      EXPECT_EQ(moving->partition_digests, still.partition_digests);
      EXPECT_EQ(moving->xxh3, still.xxh3);
      EXPECT_EQ(cluster.shard(0).cut_bytes(), 0u);
      // And the cut has changed nothing.
      for (uint64_t s = at; s < t; ++s) TrainStep(twin, s);
      EXPECT_EQ(WriteShardFile(cluster.shard(0), Dir("a"), kJob, 5)->partition_digests,
                WriteShardFile(twin.shard(0), Dir("b"), kJob, 5)->partition_digests);
    }
  }
}

// The file can be there before the shard's thread has asked whether there is more.
TEST_F(CutTest, OneThatEndsWithItsLastPieceIsNotGivenUp) {
  Cluster cluster(1, LivelyTables());
  for (uint64_t t = 0; t < 4; ++t) TrainStep(cluster, t);
  Shard& shard = cluster.shard(0);
  const Cut cut = shard.BeginCut(1, 0);
  size_t parts = cut.partition.size() * cut.tables.size();
  for (CutPiece piece; parts > 0; parts -= piece.last ? 1 : 0) {
    ASSERT_TRUE(shard.NextPiece(200, &piece));
  }
  shard.EndCut();
  TrainStep(cluster, 4);
  EXPECT_EQ(shard.BeginCut(2, 1).parent, 1u);
  shard.EndCut();
  EXPECT_EQ(shard.BeginCut(3, 2).parent, 0u);
}

TEST_F(CutTest, OneThatIsGivenUpLeavesNothing) {
  Cluster cluster(1, LivelyTables());
  for (uint64_t t = 0; t < 4; ++t) TrainStep(cluster, t);
  Copy first(&cluster.shard(0), 1, 0, 100);
  EXPECT_TRUE(first.Next());
  TrainStep(cluster, 4);
  EXPECT_GT(cluster.shard(0).cut_bytes(), 0u);
  const Status status = first.Write(Dir("half")).status();
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_TRUE(fs::is_empty(Dir("half")));
  cluster.shard(0).EndCut();
  EXPECT_EQ(cluster.shard(0).cut_bytes(), 0u);
  EXPECT_FALSE(first.Next());
  // What changed since then is not known to the next one.
  EXPECT_EQ(cluster.shard(0).BeginCut(2, 1).parent, 0u);
}

// Writes checkpoints as a scheduler would have them: files of changes beside the earlier ones.
class Chain {
 public:
  explicit Chain(Cluster* cluster) : cluster_(*cluster), files_(cluster->size()) {}

  // Trains on while rows are copied, from step `*t` on. The bytes of the files.
  Result<uint64_t> Write(const std::string& dir, uint64_t number, uint64_t parent, uint64_t* t,
                         bool* changes) {
    std::vector<Copy> copies;
    for (size_t s = 0; s < cluster_.size(); ++s) {
      copies.emplace_back(&cluster_.shard(s), number, parent, 200);
    }
    TrainStep(cluster_, (*t)++);
    spec::CheckpointManifest manifest;
    std::map<PartitionId, std::string> digests;
    uint64_t bytes = 0;
    for (size_t s = 0; s < cluster_.size(); ++s) {
      while (copies[s].Next()) {
      }
      EMPORIUM_ASSIGN_OR_RETURN(const ShardFileInfo info, copies[s].Write(dir));
      *changes = info.parent != 0;
      if (info.parent == 0) files_[s].clear();
      const std::string kept = std::to_string(s) + "." + std::to_string(number) + ".h5";
      EMPORIUM_RETURN_IF_ERROR(runtime::LinkFile(dir + "/" + info.path, dir + "/../" + kept));
      for (const spec::ManifestFile& file : files_[s]) {
        EMPORIUM_RETURN_IF_ERROR(
            runtime::LinkFile(dir + "/../" + file.path(), dir + "/" + file.path()));
        *manifest.add_file() = file;
      }
      spec::ManifestFile own;
      own.set_path(info.path);
      own.set_bytes(info.bytes);
      own.set_xxh3(info.xxh3);
      own.set_shard(static_cast<uint32_t>(s));
      *manifest.add_file() = own;
      own.set_path(kept);
      own.set_checkpoint(number);
      files_[s].push_back(own);
      bytes += info.bytes;
      for (const auto& [partition, digest] : info.partition_digests) digests[partition] = digest;
    }
    manifest.set_number(number);
    manifest.set_job_fingerprint(kJob);
    manifest.set_partitions(kPartitions);
    manifest.set_format(runtime::kCheckpointFormat);
    EMPORIUM_ASSIGN_OR_RETURN(const std::string digest,
                              runtime::ContentDigest(digests, kPartitions));
    manifest.set_content_digest(digest);
    EMPORIUM_RETURN_IF_ERROR(runtime::WriteManifest(dir, manifest));
    return bytes;
  }

 private:
  Cluster& cluster_;
  std::vector<std::vector<spec::ManifestFile>> files_;  // by shard: of the checkpoints so far
};

TEST_F(CutTest, ChangesOnChangesAreTheWhole) {
  Cluster cluster(3, LivelyTables());
  Chain chain(&cluster);
  uint64_t t = 0;
  for (; t < 30; ++t) TrainStep(cluster, t);
  for (uint64_t number = 1; number <= 8; ++number) {
    SCOPED_TRACE(number);
    Cluster twin(2, LivelyTables());
    for (uint64_t s = 0; s < t; ++s) TrainStep(twin, s);
    const std::string whole = twin.Checkpoint(Dir("whole-" + std::to_string(number)), kJob).value();
    const std::string dir = Dir("checkpoint-" + std::to_string(number));
    bool changes = false;
    ASSERT_TRUE(chain.Write(dir, number, number - 1, &t, &changes).ok());
    EXPECT_EQ(changes, number > 1);
    std::string report;
    ASSERT_EQ(VerifyCheckpoint(dir, &report).ToString(), "ok");
    EXPECT_THAT(report, HasSubstr(whole));

    const spec::CheckpointManifest manifest = runtime::ReadManifest(dir).value();
    ASSERT_TRUE(runtime::VerifyFiles(dir, manifest).ok());
    Cluster restored(4, LivelyTables());
    for (size_t s = 0; s < restored.size(); ++s) {
      ASSERT_EQ(RestoreShard(dir, manifest, kJob, &restored.shard(s)).ToString(), "ok");
    }
    EXPECT_EQ(restored.Checkpoint(Dir("again-" + std::to_string(number)), kJob).value(), whole);
    if (number % 2 == 0) continue;  // some changes are of one step alone
    TrainStep(cluster, t++);
  }
}

TEST_F(CutTest, ChangesWithoutWhatTheyAreChangesToAreRefused) {
  Cluster cluster(2, LivelyTables());
  Chain chain(&cluster);
  uint64_t t = 0;
  for (; t < 5; ++t) TrainStep(cluster, t);
  bool changes = false;
  for (uint64_t number = 1; number <= 3; ++number) {
    const std::string dir = Dir("checkpoint-" + std::to_string(number));
    ASSERT_TRUE(chain.Write(dir, number, number - 1, &t, &changes).ok());
  }
  const std::string dir = Dir("checkpoint-3");
  const spec::CheckpointManifest whole = runtime::ReadManifest(dir).value();
  ASSERT_EQ(whole.file_size(), 6);
  for (int left_out = 0; left_out < 6; ++left_out) {
    spec::CheckpointManifest manifest = whole;
    manifest.mutable_file()->DeleteSubrange(left_out, 1);
    Cluster target(1, LivelyTables());
    EXPECT_EQ(RestoreShard(dir, manifest, kJob, &target.shard(0)).code(), StatusCode::kDataLoss)
        << left_out;
  }
  spec::CheckpointManifest manifest = whole;
  manifest.mutable_file()->SwapElements(0, 1);
  Cluster target(1, LivelyTables());
  EXPECT_EQ(RestoreShard(dir, manifest, kJob, &target.shard(0)).code(), StatusCode::kDataLoss);
}

}  // namespace
}  // namespace emporium::ps
