// A small checkpoint that is damaged in every way that one cut or one bit can, with a whole older
// one beside it, and what a restart makes of that: the newest has to be refused and the older one
// be chosen. Shared by bench_damage and a short test. One thread; the files lie in a directory that
// belongs to the caller.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "proto/status.h"
#include "ps/checkpoint.h"
#include "ps/shard.h"
#include "runtime/file.h"
#include "runtime/manifest.h"

namespace emporium::bench {

struct DamageCounts {
  uint64_t bytes = 0;  // of the checkpoint that is damaged, over all its files
  uint64_t truncations = 0, truncations_detected = 0;
  uint64_t flips = 0, flips_detected = 0;
  uint64_t previous_chosen = 0;  // of all trials: the older one, with a line about the newer
};

class CheckpointDamage {
 public:
  explicit CheckpointDamage(std::string root) : root_(std::move(root)) {}

  // Truncates every file at every offset and flips every bit, evenly chosen ones where either are
  // more than `most`. An error is of the trials, not of what they find.
  Result<DamageCounts> Run(uint64_t most) {
    EMPORIUM_RETURN_IF_ERROR(WriteCheckpoint(kOlder));
    EMPORIUM_RETURN_IF_ERROR(WriteCheckpoint(kNewer));
    EMPORIUM_RETURN_IF_ERROR(ReadFiles());
    // Nothing is learnt from refusals of what was not whole to begin with.
    EMPORIUM_RETURN_IF_ERROR(ExpectNewerChosen());
    EMPORIUM_RETURN_IF_ERROR(Truncate(most));
    EMPORIUM_RETURN_IF_ERROR(Flip(most));
    EMPORIUM_RETURN_IF_ERROR(ExpectNewerChosen());
    return counts_;
  }

 private:
  static constexpr uint64_t kOlder = 1, kNewer = 2;
  static constexpr uint32_t kShards = 2;
  static constexpr const char* kJob = "0123abcd";

  struct File {
    std::string path;
    std::string whole;
  };

  // One partition a shard with one row, in a table of width 1: the file is little but structure.
  static ps::Shard::Config ConfigOf(uint32_t shard) {
    ps::TableSettings table;
    table.id = TableId(0);
    table.name = "t";
    table.dim = 1;
    table.optimizer.mutable_sgd()->set_learning_rate(0.5f);
    table.initializer.mutable_zeros();
    ps::Shard::Config config;
    config.id = ShardId(static_cast<uint16_t>(shard));
    config.partitions = kShards;
    config.owned = {PartitionId(static_cast<uint16_t>(shard))};
    config.tables = {table};
    return config;
  }

  Status WriteCheckpoint(uint64_t number) {
    const std::string dir = runtime::CheckpointDir(root_, number);
    EMPORIUM_RETURN_IF_ERROR(runtime::MakeDirs(dir));
    spec::CheckpointManifest manifest;
    std::map<PartitionId, std::string> digests;
    for (uint32_t s = 0; s < kShards; ++s) {
      ps::Shard shard(ConfigOf(s));
      uint64_t key = 0;
      while (!shard.table(0).Owns(key)) ++key;
      const float weight = static_cast<float>(number);
      shard.table(0).Assign(key, {&weight, 1});
      shard.RestorePosition({StageId(0), Step(number), static_cast<uint32_t>(number)});
      EMPORIUM_ASSIGN_OR_RETURN(ps::ShardFileInfo info, ps::WriteShardFile(shard, dir, kJob, 1));
      spec::ManifestFile* const file = manifest.add_file();
      file->set_path(info.path);
      file->set_bytes(info.bytes);
      file->set_xxh3(info.xxh3);
      digests.merge(info.partition_digests);
    }
    EMPORIUM_ASSIGN_OR_RETURN(const std::string digest, runtime::ContentDigest(digests, kShards));
    manifest.set_number(number);
    manifest.set_job_name("damage");
    manifest.set_job_fingerprint(kJob);
    manifest.set_stage(0);
    manifest.set_step(number);
    manifest.set_partitions(kShards);
    manifest.set_format(runtime::kCheckpointFormat);
    manifest.set_content_digest(digest);
    EMPORIUM_RETURN_IF_ERROR(runtime::WriteManifest(dir, manifest));
    std::string report;
    return ps::VerifyCheckpoint(dir, &report);
  }

  Status ReadFiles() {
    EMPORIUM_ASSIGN_OR_RETURN(const auto manifest, runtime::ReadManifest(Newer()));
    std::vector<std::string> names = {runtime::kManifestName};
    for (const spec::ManifestFile& file : manifest.file()) names.push_back(file.path());
    for (const std::string& name : names) {
      File file{Newer() + "/" + name, {}};
      EMPORIUM_ASSIGN_OR_RETURN(file.whole, runtime::ReadFile(file.path));
      counts_.bytes += file.whole.size();
      files_.push_back(std::move(file));
    }
    return Status::Ok();
  }

  // Each n-th so that at most `most` are tried; odd, so that every bit of a byte has its turn.
  static uint64_t StrideOf(uint64_t trials, uint64_t most) {
    return trials <= most ? 1 : ((trials + most - 1) / most) | 1;
  }

  Status Truncate(uint64_t most) {
    const uint64_t stride = StrideOf(counts_.bytes, most);
    uint64_t until_next = 0;  // the first offset of the first file is tried
    for (const File& file : files_) {
      std::vector<uint64_t> sizes;
      for (; until_next < file.whole.size(); until_next += stride) sizes.push_back(until_next);
      until_next -= file.whole.size();
      // From the longest to the shortest, the file need not be written again between them.
      for (auto size = sizes.rbegin(); size != sizes.rend(); ++size) {
        std::error_code error;
        std::filesystem::resize_file(file.path, *size, error);
        if (error) return Unavailable(file.path + ": " + error.message());
        ++counts_.truncations;
        LookAgain(&counts_.truncations_detected);
      }
      EMPORIUM_RETURN_IF_ERROR(runtime::WriteFileDurably(file.path, file.whole));
    }
    return Status::Ok();
  }

  Status Flip(uint64_t most) {
    const uint64_t stride = StrideOf(8 * counts_.bytes, most);
    uint64_t bit = 0;
    for (const File& file : files_) {
      std::fstream bytes(file.path, std::ios::in | std::ios::out | std::ios::binary);
      const auto put = [&](uint64_t at, char byte) {
        bytes.seekp(static_cast<std::streamoff>(at)).put(byte).flush();
      };
      for (; bit < 8 * file.whole.size(); bit += stride) {
        const char byte = file.whole[bit / 8];
        put(bit / 8, static_cast<char>(byte ^ (1 << (bit % 8))));
        ++counts_.flips;
        LookAgain(&counts_.flips_detected);
        put(bit / 8, byte);
      }
      bit -= 8 * file.whole.size();
      if (!bytes.good()) return Unavailable(file.path + ": cannot be written");
    }
    return Status::Ok();
  }

  // What a server does that is told to restore the newer one, and what a scheduler does that looks
  // for the newest.
  void LookAgain(uint64_t* detected) {
    const auto restore = [&]() -> Status {
      EMPORIUM_ASSIGN_OR_RETURN(const auto manifest, runtime::ReadManifest(Newer()));
      return runtime::VerifyFiles(Newer(), manifest);
    };
    if (restore().code() == StatusCode::kDataLoss) ++*detected;
    std::vector<std::string> passed_over;
    const auto chosen = runtime::NewestCheckpoint(root_, kJob, &passed_over);
    const bool told = passed_over.size() == 1 && passed_over[0].starts_with(Newer());
    const bool older = chosen.ok() && chosen->has_value() && (*chosen)->number == kOlder;
    if (told && older) ++counts_.previous_chosen;
  }

  Status ExpectNewerChosen() const {
    std::vector<std::string> passed_over;
    EMPORIUM_ASSIGN_OR_RETURN(const auto chosen,
                              runtime::NewestCheckpoint(root_, kJob, &passed_over));
    if (chosen.has_value() && chosen->number == kNewer && passed_over.empty()) return Status::Ok();
    return Internal(Newer() + ": is not chosen though nothing was done to it");
  }

  std::string Newer() const { return runtime::CheckpointDir(root_, kNewer); }

  const std::string root_;
  std::vector<File> files_;
  DamageCounts counts_;
};

}  // namespace emporium::bench
