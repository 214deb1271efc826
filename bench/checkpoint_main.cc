// What a checkpoint of a large shard costs: how fast its file is written beside what the disk takes
// in one piece, and how small a file of changes is.
//
// usage: bench_checkpoint --dir DIR [--rows N]     DIR: on the disk that is meant; default
// 1,000,000
//
// Each round writes a shard's whole file, and as many bytes in one piece to another file, both
// synced, the one first and then the other; the ratio is of the medians. A process of its own then
// restores the file and tells how much more memory it ever had than the rows take.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "ps/checkpoint.h"
#include "ps/shard.h"
#include "runtime/clock.h"
#include "runtime/file.h"
#include "runtime/heap.h"
#include "runtime/manifest.h"

namespace emporium::bench {
namespace {

using ps::Shard;

constexpr uint32_t kPartitions = 512;
constexpr uint32_t kDim = 32;
constexpr int kRounds = 7;
constexpr uint64_t kDirtyShare = 10;  // one row of so many

Shard::Config ConfigOf() {
  Shard::Config config;
  config.id = ShardId(0);
  config.route_version = RouteVersion(1);
  config.partitions = kPartitions;
  for (uint16_t p = 0; p < kPartitions; ++p) config.owned.push_back(PartitionId(p));
  ps::TableSettings table;
  table.id = TableId(0);
  table.name = "item";
  table.dim = kDim;
  table.optimizer.mutable_adagrad()->set_learning_rate(0.1f);
  table.initializer.mutable_normal()->set_stddev(0.1f);
  table.popularity = true;
  config.tables = {table};
  config.follow_changes = true;
  return config;
}

void Update(Shard* shard, const std::vector<uint64_t>& keys, uint32_t step) {
  ps::Table& table = shard->table(0);
  std::vector<ps::Slot> slots(keys.size());
  table.FindOrCreate(keys, slots);
  const std::vector<float> gradients(keys.size() * kDim, 0.5f);
  const std::vector<float> counts(keys.size(), 1);
  table.Apply({.keys = keys,
               .slots = slots,
               .gradients = gradients,
               .counts = counts,
               .step = step,
               .kept_rows = {},
               .kept_popularity = {}});
}

Result<ps::ShardFileInfo> Write(Shard* shard, uint64_t number, uint64_t parent,
                                const std::string& dir) {
  const ps::Cut cut = shard->BeginCut(number, parent);
  const ps::CutSource source = [shard]() -> std::optional<ps::CutPiece> {
    ps::CutPiece piece;
    if (!shard->NextPiece(ps::kCutPieceBytes, &piece)) return std::nullopt;
    return piece;
  };
  return ps::WriteShardFile(cut, source, dir, "bench", 1);
}

// Bytes in one piece, as fast as the disk takes them.
Status WritePlain(const std::string& path, const std::vector<char>& bytes) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return Unavailable(path + " cannot be written");
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        ::write(file, bytes.data() + done, std::min<size_t>(bytes.size() - done, 8 << 20));
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  const bool ok = done == bytes.size() && ::fsync(file) == 0;
  ::close(file);
  return ok ? Status::Ok() : Unavailable(path + " cannot be written");
}

Status Seal(const std::string& dir, const ps::ShardFileInfo& info) {
  spec::CheckpointManifest manifest;
  spec::ManifestFile* const file = manifest.add_file();
  file->set_path(info.path);
  file->set_bytes(info.bytes);
  file->set_xxh3(info.xxh3);
  manifest.set_job_fingerprint("bench");
  manifest.set_partitions(kPartitions);
  manifest.set_format(runtime::kCheckpointFormat);
  EMPORIUM_ASSIGN_OR_RETURN(const std::string digest,
                            runtime::ContentDigest(info.partition_digests, kPartitions));
  manifest.set_content_digest(digest);
  return runtime::WriteManifest(dir, manifest);
}

// Of this process, in bytes.
uint64_t MostMemory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) << 10;
}

Status Restore(const std::string& dir) {
  EMPORIUM_ASSIGN_OR_RETURN(const spec::CheckpointManifest manifest, runtime::ReadManifest(dir));
  const runtime::Stopwatch watch;
  EMPORIUM_RETURN_IF_ERROR(runtime::VerifyFiles(dir, manifest));
  Shard shard(ConfigOf());
  EMPORIUM_RETURN_IF_ERROR(ps::RestoreShard(dir, manifest, "bench", &shard));
  std::printf("figure restore_s %.2f\n", watch.Seconds());
  std::printf("figure restore_mb_beyond_rows %.0f\n",
              static_cast<double>(MostMemory() - shard.memory_bytes()) / 1e6);
  return Status::Ok();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::unique_ptr<Shard> FullShard(const std::vector<uint64_t>& keys) {
  auto shard = std::make_unique<Shard>(ConfigOf());
  shard->RestorePosition({StageId(0), Step(0), 0});
  for (size_t at = 0; at < keys.size(); at += 1 << 16) {
    const size_t end = std::min<size_t>(keys.size(), at + (1 << 16));
    Update(shard.get(),
           {keys.begin() + static_cast<long>(at), keys.begin() + static_cast<long>(end)}, 1);
  }
  return shard;
}

// All shards side by side; of the first its file.
Result<ps::ShardFileInfo> WriteAll(const std::vector<std::unique_ptr<Shard>>& shards,
                                   uint64_t number, const std::string& dir) {
  std::vector<Status> statuses(shards.size());
  ps::ShardFileInfo first;
  std::vector<std::thread> threads;
  for (size_t s = 0; s < shards.size(); ++s) {
    threads.emplace_back([&, s] {
      const std::string place = dir + "/" + std::to_string(s);
      Result<ps::ShardFileInfo> info = Write(shards[s].get(), number, 0, place);
      statuses[s] = info.status();
      if (info.ok() && s == 0) first = *std::move(info);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Status& status : statuses) EMPORIUM_RETURN_IF_ERROR(status);
  return first;
}

Status Run(const std::string& dir, uint64_t rows, uint64_t number_of_shards) {
  std::vector<uint64_t> keys(rows);
  for (uint64_t i = 0; i < rows; ++i) keys[i] = i * 0x9e3779b97f4a7c15u;
  std::vector<std::unique_ptr<Shard>> shards;
  for (uint64_t s = 0; s < number_of_shards; ++s) {
    shards.push_back(FullShard(keys));
    EMPORIUM_RETURN_IF_ERROR(runtime::MakeDirs(dir + "/" + std::to_string(s)));
  }
  ps::ShardFileInfo whole;
  std::vector<double> checkpoint_s, disk_s;
  std::vector<char> plain;
  uint64_t number = 0;
  for (int round = 0; round < kRounds; ++round) {
    for (const bool checkpoint : {round % 2 == 0, round % 2 != 0}) {
      const runtime::Stopwatch watch;
      if (checkpoint) {
        EMPORIUM_ASSIGN_OR_RETURN(whole, WriteAll(shards, ++number, dir));
        checkpoint_s.push_back(watch.Seconds());
        if (plain.empty()) plain.assign(number_of_shards * whole.bytes, 'x');
      } else {
        EMPORIUM_RETURN_IF_ERROR(WritePlain(dir + "/plain", plain));
        disk_s.push_back(watch.Seconds());
      }
    }
  }
  std::mt19937_64 random(1);
  std::shuffle(keys.begin(), keys.end(), random);
  const uint64_t dirty = rows / kDirtyShare;
  Shard* const shard = shards[0].get();
  Update(shard, {keys.begin(), keys.begin() + static_cast<long>(dirty)}, 2);
  EMPORIUM_RETURN_IF_ERROR(Seal(dir + "/0", whole));
  EMPORIUM_ASSIGN_OR_RETURN(const ps::ShardFileInfo delta, Write(shard, number + 1, number, dir));
  const double row_bytes = static_cast<double>(whole.bytes) / static_cast<double>(rows);
  const double gigabytes = static_cast<double>(plain.size()) / 1e9;
  std::printf("figure checkpoint_rows %" PRIu64 "\n", rows * number_of_shards);
  std::printf("figure checkpoint_mb %.0f\n", 1000 * gigabytes);
  std::printf("figure checkpoint_gb_per_s %.3f\n", gigabytes / Median(checkpoint_s));
  std::printf("figure disk_gb_per_s %.3f\n", gigabytes / Median(disk_s));
  std::printf("figure checkpoint_over_disk %.2f\n", Median(disk_s) / Median(checkpoint_s));
  std::printf("figure delta_mb %.1f\n", static_cast<double>(delta.bytes) / 1e6);
  std::printf("figure delta_over_dirty_rows %.3f\n",
              static_cast<double>(delta.bytes) / (row_bytes * static_cast<double>(dirty)));
  std::printf("figure whole_over_delta %.1f\n",
              static_cast<double>(whole.bytes) / static_cast<double>(delta.bytes));
  return Status::Ok();
}

int Main(const std::string& program, const std::string& parent, uint64_t rows, uint64_t shards) {
  const std::string dir = parent + "/bench-checkpoint-" + std::to_string(::getpid());
  Status status = runtime::MakeDirs(dir);
  if (status.ok()) status = Run(dir, rows, shards);
  if (status.ok()) {
    std::fflush(stdout);
    const std::string command = "'" + program + "' --restore '" + dir + "/0'";
    if (std::system(command.c_str()) != 0) status = Unavailable("the file cannot be restored");
  }
  std::filesystem::remove_all(dir);
  if (status.ok()) return 0;
  std::fprintf(stderr, "bench_checkpoint: %s\n", status.ToString().c_str());
  return 1;
}

}  // namespace
}  // namespace emporium::bench

int main(int argc, char** argv) {
  emporium::runtime::KeepFreedMemory();  // as servers do
  std::string dir;
  uint64_t rows = 1'000'000;
  uint64_t shards = 2;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--dir") dir = argv[i + 1];
    if (flag == "--restore") {
      const emporium::Status status = emporium::bench::Restore(argv[i + 1]);
      if (!status.ok()) std::fprintf(stderr, "bench_checkpoint: %s\n", status.ToString().c_str());
      return status.ok() ? 0 : 1;
    }
    if (flag == "--rows") rows = std::stoull(argv[i + 1]);
    if (flag == "--shards") shards = std::stoull(argv[i + 1]);
  }
  if (dir.empty() || rows < 100 || shards == 0) {
    std::fprintf(stderr, "usage: bench_checkpoint --dir DIR [--rows N] [--shards N]\n");
    return 2;
  }
  return emporium::bench::Main(argv[0], dir, rows, shards);
}
