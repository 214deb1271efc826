// Checkpoints: what is read back is what was written, in Python too (any_shards_test.cc: in any
// division into shards); damage is always seen and named; a full disk leaves nothing half-written.
#include "ps/checkpoint.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "ps/hdf5.h"
#include "ps/shard_file.h"
#include "runtime/file.h"
#include "tests/ps/shard_fixture.h"

// The leak checker asks for this by name: HDF5 1.10 itself keeps a few hundred bytes of a file
// whose structure turns out to be damaged.
extern "C" const char* __lsan_default_suppressions();  // NOLINT: the checker's name
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }  // NOLINT

namespace emporium::ps {
namespace {

using namespace ps::testing;  // NOLINT: the fixture's names
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr const char* kJob = "0123abcd";

class CheckpointTest : public ::testing::Test {
 protected:
  std::string Dir(const std::string& name) const { return scratch_.Dir(name); }

  static std::unique_ptr<Cluster> Trained(uint32_t shards) {
    auto cluster = std::make_unique<Cluster>(shards);
    Train(*cluster, 0, 0, 4, 2);
    Train(*cluster, 3, 0, 5, 3);
    return cluster;
  }

  static Status RestoreAll(const std::string& dir, Cluster* cluster,
                           const std::string& job = kJob) {
    EMPORIUM_ASSIGN_OR_RETURN(const spec::CheckpointManifest manifest, runtime::ReadManifest(dir));
    EMPORIUM_RETURN_IF_ERROR(runtime::VerifyFiles(dir, manifest));
    for (size_t s = 0; s < cluster->size(); ++s) {
      EMPORIUM_RETURN_IF_ERROR(RestoreShard(dir, manifest, job, &cluster->shard(s)));
    }
    return Status::Ok();
  }

  const Scratch scratch_{"checkpoint"};
};

std::vector<char> Slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void Spill(const std::string& path, const std::vector<char>& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<long>(bytes.size()));
}

TEST_F(CheckpointTest, MoreRowsThanABlockAndAPullOfTheVersionBefore) {
  std::vector<TableSettings> tables = TwoTables();
  tables[1].dim = 4000;  // 65 rows a block
  Cluster source(1, tables);
  Payload push(2);
  for (uint64_t k = 0; k < 150; ++k) push[1].keys.push_back(k);
  push[1].values.assign(150 * 4000, 0.5f);
  for (uint64_t k = 0; k < 70'000; ++k) push[0].keys.push_back(k * k);
  push[0].values.assign(70'000 * 3, 0.25f);
  source.SendAll("worker", PushHeader(0, 0, 0, 1), push);
  const std::string dir = Dir("blocks");
  ASSERT_TRUE(source.Checkpoint(dir, kJob).ok());
  std::string report;
  EXPECT_EQ(VerifyCheckpoint(dir, &report).ToString(), "ok");
  EXPECT_THAT(report, HasSubstr("item: 70000 rows"));
  Cluster target(3, tables);
  ASSERT_EQ(RestoreAll(dir, &target).ToString(), "ok");
  EXPECT_EQ(target.Checkpoint(Dir("again"), kJob).value(),
            runtime::ReadManifest(dir)->content_digest());
  // The rows before the step were not saved.
  EXPECT_EQ(target.Ask(0, Header(FrameType::kPull, 0, 0), Payload(1)).error(), StatusCode::kStale);
}

TEST_F(CheckpointTest, AnEmptyShardIsACheckpointToo) {
  Cluster source(2);
  std::vector<Send> out;
  for (size_t s = 0; s < 2; ++s) {
    ASSERT_TRUE(source.shard(s).ReadyForCheckpoint(StageId(1), Step(0), &out).ok());
  }
  const std::string dir = Dir("empty");
  ASSERT_TRUE(source.Checkpoint(dir, kJob).ok());
  Cluster target(3);
  EXPECT_EQ(RestoreAll(dir, &target).ToString(), "ok");
  EXPECT_EQ(target.shard(2).position().stage, StageId(1));
}

TEST_F(CheckpointTest, OnlyTheStepThatIsAskedFor) {
  const std::unique_ptr<Cluster> cluster = Trained(1);
  std::vector<Send> out;
  Shard& shard = cluster->shard(0);
  EXPECT_TRUE(shard.ReadyForCheckpoint(StageId(3), Step(5), &out).ok());
  EXPECT_EQ(shard.ReadyForCheckpoint(StageId(3), Step(4), &out).code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(shard.ReadyForCheckpoint(StageId(2), Step(0), &out).code(),
            StatusCode::kFailedPrecondition);
  cluster->SendAll("worker", PushHeader(3, 5, 0, 2), MicroBatchOf(5, 0));
  EXPECT_THAT(shard.ReadyForCheckpoint(StageId(3), Step(5), &out).message(), HasSubstr("staged"));
}

TEST_F(CheckpointTest, AnotherJobIsRefused) {
  const std::string dir = Dir("job");
  ASSERT_TRUE(Trained(1)->Checkpoint(dir, kJob).ok());
  Cluster target(1);
  const Status other = RestoreAll(dir, &target, "ffff");
  EXPECT_EQ(other.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(other.message(), HasSubstr("another job"));

  std::vector<TableSettings> tables = TwoTables();
  tables[0].dim = 4;
  Cluster wider(1, tables);
  EXPECT_THAT(RestoreAll(dir, &wider).message(), HasSubstr("table item is not what the job says"));
}

TEST_F(CheckpointTest, AMissingFileOrPartitionIsSaid) {
  const std::string dir = Dir("missing");
  ASSERT_TRUE(Trained(2)->Checkpoint(dir, kJob).ok());
  Cluster target(1);
  spec::CheckpointManifest manifest = runtime::ReadManifest(dir).value();
  manifest.mutable_file()->RemoveLast();
  EXPECT_THAT(RestoreShard(dir, manifest, kJob, &target.shard(0)).message(),
              HasSubstr("partition 8 is in no file"));
  fs::remove(dir + "/shard-1.h5");
  EXPECT_THAT(RestoreAll(dir, &target).message(),
              AllOf(HasSubstr("shard-1.h5"), HasSubstr("missing")));
  std::string report;
  EXPECT_THAT(VerifyCheckpoint(dir, &report).message(),
              AllOf(HasSubstr("shard-1.h5"), HasSubstr("missing")));
}

TEST_F(CheckpointTest, EveryTruncationAndFlippedBitIsSeen) {
  const std::string dir = Dir("damage");
  ASSERT_TRUE(Trained(1)->Checkpoint(dir, kJob).ok());
  const std::string path = dir + "/shard-0.h5";
  const std::vector<char> whole = Slurp(path);
  const spec::CheckpointManifest manifest = runtime::ReadManifest(dir).value();
  std::string report;
  for (size_t n = 0; n < whole.size(); n += whole.size() / 40) {
    Spill(path, {whole.begin(), whole.begin() + static_cast<ptrdiff_t>(n)});
    EXPECT_EQ(runtime::VerifyFiles(dir, manifest).code(), StatusCode::kDataLoss);
    EXPECT_THAT(VerifyCheckpoint(dir, &report).message(),
                HasSubstr("bytes [" + std::to_string(n) + ", " + std::to_string(whole.size())));
  }
  int named_rows = 0;
  for (size_t at = 0; at < whole.size(); at += 13) {
    std::vector<char> bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    Spill(path, bytes);
    EXPECT_EQ(runtime::VerifyFiles(dir, manifest).code(), StatusCode::kDataLoss) << at;
    const Status damage = VerifyCheckpoint(dir, &report);
    EXPECT_EQ(damage.code(), StatusCode::kDataLoss) << at;
    EXPECT_THAT(damage.message(), HasSubstr("shard-0.h5: bytes were changed")) << at;
    if (damage.message().find("rows [") == std::string::npos) continue;
    ++named_rows;
    const size_t range = damage.message().rfind("bytes [");
    ASSERT_NE(range, std::string::npos) << damage.message();
    size_t first = 0, end = 0;
    std::sscanf(damage.message().c_str() + range, "bytes [%zu, %zu)", &first, &end);
    EXPECT_TRUE(first <= at && at < end) << damage.message() << " at " << at;
  }
  EXPECT_GT(named_rows, 50);
  Spill(path, whole);
  EXPECT_EQ(VerifyCheckpoint(dir, &report).ToString(), "ok");
}

// The digest of the manifest is not the only guard: a content digest that is not the rows' own.
TEST_F(CheckpointTest, AManifestOfOtherRowsIsSeen) {
  const std::string dir = Dir("rows");
  ASSERT_TRUE(Trained(1)->Checkpoint(dir, kJob).ok());
  spec::CheckpointManifest manifest = runtime::ReadManifest(dir).value();
  manifest.set_content_digest(std::string(64, '0'));
  ASSERT_TRUE(runtime::WriteManifest(dir, manifest).ok());
  std::string report;
  EXPECT_THAT(VerifyCheckpoint(dir, &report).message(), HasSubstr("the rows' digest"));

  manifest.set_format(2);
  ASSERT_TRUE(runtime::WriteManifest(dir, manifest).ok());
  ASSERT_EQ(VerifyCheckpoint(dir, &report).ToString(), "ok");
  EXPECT_THAT(report, HasSubstr("that of an older Emporium"));
}

// In a process of its own, whose files may not grow beyond some bytes: the same path as a full
// disk, and the place of the failure moves through the whole file. The process must also end well:
// HDF5 left alone with a file that it could not close would crash it.
TEST_F(CheckpointTest, ADiskThatFillsUpLeavesNothingBehind) {
  const std::string dir = Dir("full");
  const std::unique_ptr<Cluster> cluster = Trained(1);
  const size_t size = WriteShardFile(cluster->shard(0), dir, kJob, 1).value().bytes;
  const std::vector<char> before = Slurp(dir + "/shard-0.h5");
  for (size_t limit = 0; limit < size; limit += 1 + size / 25) {
    const pid_t child = ::fork();
    if (child == 0) {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit bytes{limit, limit};
      ::setrlimit(RLIMIT_FSIZE, &bytes);
      const Result<ShardFileInfo> info = WriteShardFile(cluster->shard(0), dir, kJob, 2);
      const bool said = !info.ok() && info.status().code() == StatusCode::kResourceExhausted &&
                        info.status().message().find("shard-0.h5") != std::string::npos;
      std::exit(said ? 0 : 1);  // with the library's own farewell
    }
    int result = -1;
    ASSERT_EQ(::waitpid(child, &result, 0), child);
    EXPECT_TRUE(WIFEXITED(result) && WEXITSTATUS(result) == 0) << limit << ": " << result;
  }
  // The older file is untouched, and there is no other.
  EXPECT_EQ(Slurp(dir + "/shard-0.h5"), before);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir), {}), 1);
}

TEST_F(CheckpointTest, ADirectoryThatIsNotThereIsNamed) {
  const std::unique_ptr<Cluster> cluster = Trained(1);
  EXPECT_THAT(
      WriteShardFile(cluster->shard(0), scratch_.path() + "/no/such", kJob, 1).status().message(),
      HasSubstr("no/such"));
}

TEST_F(CheckpointTest, NoiseIsNoShardFile) {
  const std::string path = scratch_.path() + "/noise.h5";
  Spill(path, std::vector<char>(5000, 'x'));
  const Result<std::unique_ptr<ShardFile>> file = ShardFile::Open(path);
  EXPECT_EQ(file.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(file.status().message(), HasSubstr("noise.h5"));
}

// h5py reads the same values, by the names that ps/checkpoint.h states.
TEST_F(CheckpointTest, PythonReadsIt) {
  if (std::system("/usr/bin/python3 -c 'import h5py' 2>/dev/null") != 0) {
    GTEST_SKIP() << "python3-h5py is not installed";
  }
  const std::unique_ptr<Cluster> cluster = Trained(1);
  const std::string dir = Dir("python");
  ASSERT_TRUE(cluster->Checkpoint(dir, kJob).ok());
  const std::string script = scratch_.path() + "/read.py";
  std::ofstream(script) << R"(
import sys, h5py, numpy
f = h5py.File(sys.argv[1], "r")
a = f.attrs
print(a["format"], a["job_fingerprint"].decode(), a["shard"], a["partitions"], a["stage"],
      a["version"], a["global_step"])
for t in range(2):
    g = f["tables/%d" % t]
    assert g["key"].fletcher32 and g["weights"].chunks
    assert len(g["offset"]) == len(f["partition"]) + 1 and g["offset"][-1] == len(g["key"])
    print(g.attrs["name"].decode(), "%.9g" % g.attrs["total_value"], g.attrs["total_step"])
    for i in numpy.argsort(g["key"][:], kind="stable"):
        row = [g["key"][i]] + [float(x).hex() for x in g["weights"][i]]
        row += [float(x).hex() for x in g["state"][i]]
        if "popularity" in g: row.append(float(g["popularity"][i]).hex())
        print(*row, g["last_step"][i], g["updates"][i])
)";
  const std::string command =
      "/usr/bin/python3 " + script + " " + dir + "/shard-0.h5 > " + scratch_.path() + "/out.txt";
  ASSERT_EQ(std::system(command.c_str()), 0);

  std::string expected = "2 0123abcd 0 16 3 5 9\n";
  char text[64];
  auto hex = [&](float value) {  // as Python writes it
    const std::string python =
        value == 0 ? "0x0.0p+0" : (std::snprintf(text, sizeof(text), "%.13a", value), text);
    return " " + python;
  };
  for (size_t t = 0; t < 2; ++t) {
    const Table& table = cluster->shard(0).table(t);
    std::snprintf(text, sizeof(text), " %.9g %u\n", table.total().value, table.total().step);
    expected += table.settings().name + text;
    std::map<uint64_t, std::string> lines;
    for (uint16_t p = 0; p < kPartitions; ++p) {
      table.ForEachRow(PartitionId(p), [&](const RowView& row) {
        std::string& line = lines[row.key];
        line = std::to_string(row.key);
        for (float w : row.weights) line += hex(w);
        for (float s : row.state) line += hex(s);
        if (t == 0) line += hex(row.popularity);
        line += " " + std::to_string(row.last_step) + " " + std::to_string(row.updates) + "\n";
      });
    }
    for (const auto& [key, line] : lines) expected += line;
  }
  const std::vector<char> out = Slurp(scratch_.path() + "/out.txt");
  EXPECT_EQ(std::string(out.begin(), out.end()), expected);
}

}  // namespace
}  // namespace emporium::ps
