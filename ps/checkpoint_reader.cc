// Reading shards' files back into a shard of any other division of the partitions.
#include <algorithm>
#include <utility>

#include "proto/planted_bug.h"
#include "ps/checkpoint.h"
#include "ps/shard_file.h"

namespace emporium::ps {
namespace {

uint32_t SketchWidthOf(const Table& table) {
  return table.admission() != nullptr ? table.admission()->width() : 0;
}

// What is known of a partition while a shard is restored.
enum class Claim : uint8_t { kNotMine, kMissing, kRead };

// Puts one file's rows of the wanted partitions into the shard.
class Restorer {
 public:
  Restorer(const ShardFile& file, Shard* shard) : file_(file), shard_(shard) {}

  Status CheckFits(const std::string& job_fingerprint) const {
    const ShardFileFacts& facts = file_.facts();
    if (facts.job_fingerprint != job_fingerprint) {
      return InvalidArgument(file_.path() +
                             ": is of another job, or the job's tables, model or seed were "
                             "changed; choose another work_dir");
    }
    if (facts.partitions != shard_->config().partitions) {
      return InvalidArgument(file_.path() + ": has " + std::to_string(facts.partitions) +
                             " partitions, the job " + std::to_string(shard_->config().partitions));
    }
    if (file_.tables().size() != shard_->tables()) {
      return DataLoss(file_.path() + ": has " + std::to_string(file_.tables().size()) +
                      " tables, the job " + std::to_string(shard_->tables()));
    }
    for (size_t t = 0; t < shard_->tables(); ++t) {
      const RowLayout& mine = shard_->table(t).layout();
      const RowLayout& theirs = file_.tables()[t].layout;
      const bool fits =
          file_.tables()[t].name == shard_->table(t).settings().name && theirs.dim == mine.dim &&
          theirs.element == mine.element && theirs.state == mine.state &&
          theirs.extra == mine.extra &&
          (theirs.popularity_bytes > 0) == (mine.popularity_bytes > 0) &&
          file_.tables()[t].total.slots.size() == shard_->table(t).counters().size() &&
          file_.tables()[t].sketch_width == SketchWidthOf(shard_->table(t));
      if (!fits) {
        return DataLoss(file_.path() + ": table " + file_.tables()[t].name +
                        " is not what the job says");
      }
    }
    return Status::Ok();
  }

  // `claims`: by partition. `newest`: no further file has changes to these rows.
  Status Restore(bool newest, std::vector<Claim>* claims) {
    std::vector<size_t> wanted;  // positions in the file's list of partitions
    for (size_t i = 0; i < file_.partition().size(); ++i) {
      const PartitionId partition = file_.partition()[i];
      Claim& claim = (*claims)[partition.value()];
      if (claim == Claim::kNotMine) continue;
      const bool changes = file_.facts().parent != 0;
      if ((claim == Claim::kRead) != changes) {
        return DataLoss(file_.path() + ": partition " + std::to_string(partition.value()) +
                        (changes ? " has changed rows, but no others" : " is in two files"));
      }
      claim = Claim::kRead;
      wanted.push_back(i);
    }
    for (size_t t = 0; t < file_.tables().size(); ++t) {
      EMPORIUM_RETURN_IF_ERROR(EraseGone(t, wanted));
      for (size_t i = 0; i < wanted.size();) {
        size_t end = i + 1;  // neighbours in the file are read in one sweep
        while (end < wanted.size() && wanted[end] == wanted[end - 1] + 1) ++end;
        const std::vector<uint64_t>& offset = file_.tables()[t].offset;
        EMPORIUM_RETURN_IF_ERROR(RestoreRows(t, offset[wanted[i]], offset[wanted[end - 1] + 1]));
        i = end;
      }
      if (newest) RestoreSketches(t, wanted);
    }
    return Status::Ok();
  }

 private:
  Status EraseGone(size_t t, const std::vector<size_t>& wanted) {
    for (const size_t i : wanted) {
      const std::span<const uint64_t> gone = file_.tables()[t].gone_of(i);
      for (const uint64_t key : gone) {
        if (shard_->table(t).Owns(key)) continue;
        return DataLoss(file_.path() + ": key " + std::to_string(key) +
                        " went, but was never in the partition that says so");
      }
      shard_->table(t).Erase(gone);
    }
    return Status::Ok();
  }

  Status RestoreRows(size_t t, uint64_t first, uint64_t end) {
    const uint64_t most = RowsPerBlock(file_.tables()[t].layout);
    RowBlock block;
    while (first < end) {
      const uint64_t count = std::min(end - first, most - first % most);  // whole chunks
      EMPORIUM_RETURN_IF_ERROR(file_.Read(t, first, count, &block));
      for (size_t i = 0; i < block.rows(); ++i) {
        RowView row = block.row(i);
        const std::vector<float> nothing(row.state.size());
        if (Planted(PlantedBug::kRestoresWithoutState)) row.state = nothing;
        const Status status = shard_->table(t).Restore(row);
        if (!status.ok()) return status.WithContext(file_.path());
      }
      first += count;
    }
    return Status::Ok();
  }

  // `wanted`: positions in the file's list of partitions.
  void RestoreSketches(size_t t, const std::vector<size_t>& wanted) {
    const ShardFile::TableFacts& table = file_.tables()[t];
    if (table.sketch_width == 0) return;
    for (const size_t i : wanted) {
      shard_->table(t).admission()->Restore(file_.partition()[i], table.sketch_of(i),
                                            table.sketch_held[i]);
    }
  }

  const ShardFile& file_;
  Shard* shard_;
};

}  // namespace

Status RestoreShard(const std::string& dir, const spec::CheckpointManifest& manifest,
                    const std::string& job_fingerprint, Shard* shard) {
  if (manifest.job_fingerprint() != job_fingerprint) {
    return InvalidArgument(dir + ": is a checkpoint of another job ('" + manifest.job_name() +
                           "'), or the job's tables, model or seed were changed; choose another "
                           "work_dir or remove it");
  }
  std::vector<Claim> claims(shard->config().partitions, Claim::kNotMine);
  for (PartitionId p : shard->config().owned) claims[p.value()] = Claim::kMissing;
  CheckpointFiles files(dir, manifest);
  while (files.more()) {
    EMPORIUM_ASSIGN_OR_RETURN(const std::unique_ptr<ShardFile> file, files.Next());
    Restorer restorer(*file, shard);
    EMPORIUM_RETURN_IF_ERROR(restorer.CheckFits(job_fingerprint));
    EMPORIUM_RETURN_IF_ERROR(restorer.Restore(files.newest(), &claims));
  }
  const auto gap = std::find(claims.begin(), claims.end(), Claim::kMissing);
  if (gap != claims.end()) {
    return DataLoss(dir + ": partition " + std::to_string(gap - claims.begin()) + " is in no file");
  }
  if (!files.position().has_value()) return DataLoss(dir + ": the manifest names no files");
  for (size_t t = 0; t < shard->tables(); ++t) shard->table(t).RestoreTotal(files.totals()[t]);
  shard->RestorePosition(*files.position());
  return Status::Ok();
}

}  // namespace emporium::ps
