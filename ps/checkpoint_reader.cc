// Reading shards' files back: into a shard of any other division of the partitions, and to verify.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "proto/planted_bug.h"
#include "ps/checkpoint.h"
#include "ps/digest.h"
#include "ps/shard_file.h"
#include "runtime/file.h"
#include "runtime/manifest.h"

namespace emporium::ps {
namespace {

std::string PathOf(const std::string& dir, const spec::ManifestFile& file) {
  return (std::filesystem::path(dir) / file.path()).string();
}

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

  // `claims`: by partition.
  Status Restore(std::vector<Claim>* claims) {
    std::vector<size_t> wanted;  // positions in the file's list of partitions
    for (size_t i = 0; i < file_.partition().size(); ++i) {
      const PartitionId partition = file_.partition()[i];
      Claim& claim = (*claims)[partition.value()];
      if (claim == Claim::kNotMine) continue;
      if (claim == Claim::kRead) {
        return DataLoss(file_.path() + ": partition " + std::to_string(partition.value()) +
                        " is in two files");
      }
      claim = Claim::kRead;
      wanted.push_back(i);
    }
    for (size_t t = 0; t < file_.tables().size(); ++t) {
      for (size_t i = 0; i < wanted.size();) {
        size_t end = i + 1;  // neighbours in the file are read in one sweep
        while (end < wanted.size() && wanted[end] == wanted[end - 1] + 1) ++end;
        const std::vector<uint64_t>& offset = file_.tables()[t].offset;
        EMPORIUM_RETURN_IF_ERROR(RestoreRows(t, offset[wanted[i]], offset[wanted[end - 1] + 1]));
        i = end;
      }
      RestoreSketches(t, wanted);
    }
    return Status::Ok();
  }

 private:
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

// What all files of a checkpoint say alike: one cut, one set of totals.
class Cut {
 public:
  Status Join(const ShardFile& file) {
    std::vector<Table::Total> totals;
    for (const ShardFile::TableFacts& table : file.tables()) totals.push_back(table.total);
    if (!position_.has_value()) {
      position_ = file.facts().position;
      totals_ = std::move(totals);
      return Status::Ok();
    }
    if (*position_ == file.facts().position && totals_ == totals) return Status::Ok();
    return DataLoss(file.path() + ": is of another step than the files before it");
  }
  const std::optional<Position>& position() const { return position_; }
  const std::vector<Table::Total>& totals() const { return totals_; }

 private:
  std::optional<Position> position_;
  std::vector<Table::Total> totals_;
};

// Adds the digests of a file's partitions, and counts its rows by table.
Status DigestFile(const ShardFile& file, std::map<PartitionId, std::string>* digests,
                  std::map<std::string, uint64_t>* rows) {
  std::vector<std::vector<TablePart>> parts(file.partition().size());
  for (size_t t = 0; t < file.tables().size(); ++t) {
    const ShardFile::TableFacts& table = file.tables()[t];
    (*rows)[table.name] += table.rows();
    RowBlock block;
    uint64_t block_first = 0;
    RowsDigest digest;
    for (size_t p = 0; p < parts.size(); ++p) {
      for (uint64_t row = table.offset[p]; row < table.offset[p + 1]; ++row) {
        if (row == block_first + block.rows()) {
          const uint64_t count = std::min(RowsPerBlock(table.layout), table.rows() - row);
          EMPORIUM_RETURN_IF_ERROR(file.Read(t, row, count, &block));
          block_first = row;
        }
        digest.Add(block.row(row - block_first), table.layout.popularity_bytes > 0);
      }
      if (table.sketch_width > 0) digest.Add(table.sketch_of(p), table.sketch_held[p]);
      parts[p].push_back({digest.Finish(), table.total});
    }
  }
  for (size_t p = 0; p < parts.size(); ++p) {
    if (!digests->emplace(file.partition()[p], PartitionDigest(parts[p])).second) {
      return DataLoss(file.path() + ": partition " + std::to_string(file.partition()[p].value()) +
                      " is in two files");
    }
  }
  return Status::Ok();
}

// The first chunk of a damaged file that its own checksum refuses.
Status FirstBadChunk(const ShardFile& file) {
  RowBlock block;
  for (size_t t = 0; t < file.tables().size(); ++t) {
    const uint64_t most = RowsPerBlock(file.tables()[t].layout);
    for (uint64_t row = 0; row < file.tables()[t].rows(); row += most) {
      const uint64_t count = std::min(most, file.tables()[t].rows() - row);
      const Status status = file.Read(t, row, count, &block);
      if (status.ok()) continue;
      const std::string where = file.BytesOf(t, row);
      return where.empty() ? status : DataLoss(status.message() + "; " + where);
    }
  }
  return Status::Ok();
}

// Why a file is not what the manifest says, as exactly as can be known.
Status Diagnose(const std::string& path, const spec::ManifestFile& wanted) {
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(path, error);
  if (error) return DataLoss(path + ": missing (" + error.message() + ")");
  const std::string range = std::to_string(std::min(bytes, wanted.bytes())) + ", " +
                            std::to_string(std::max(bytes, wanted.bytes())) + ")";
  if (bytes < wanted.bytes()) return DataLoss(path + ": cut short, bytes [" + range + " are gone");
  if (bytes > wanted.bytes()) return DataLoss(path + ": too long, bytes [" + range + " were added");
  EMPORIUM_ASSIGN_OR_RETURN(const std::string sha256, runtime::Sha256OfFile(path));
  if (sha256 == wanted.sha256()) return Status::Ok();
  const std::string what =
      path + ": bytes were changed (SHA-256 " + sha256 + ", manifest " + wanted.sha256() + ")";
  const Result<std::unique_ptr<ShardFile>> file = ShardFile::Open(path);
  if (!file.ok()) return DataLoss(what + ": " + file.status().message());
  const Status chunk = FirstBadChunk(**file);
  if (!chunk.ok()) return DataLoss(what + ": " + chunk.message());
  return DataLoss(what +
                  ": every row's checksum is right, so the change lies in bytes between "
                  "the datasets");
}

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
  Cut cut;
  for (const spec::ManifestFile& entry : manifest.file()) {
    EMPORIUM_ASSIGN_OR_RETURN(const std::unique_ptr<ShardFile> file,
                              ShardFile::Open(PathOf(dir, entry)));
    Restorer restorer(*file, shard);
    EMPORIUM_RETURN_IF_ERROR(restorer.CheckFits(job_fingerprint));
    EMPORIUM_RETURN_IF_ERROR(cut.Join(*file));
    EMPORIUM_RETURN_IF_ERROR(restorer.Restore(&claims));
  }
  const auto gap = std::find(claims.begin(), claims.end(), Claim::kMissing);
  if (gap != claims.end()) {
    return DataLoss(dir + ": partition " + std::to_string(gap - claims.begin()) + " is in no file");
  }
  if (!cut.position().has_value()) return DataLoss(dir + ": the manifest names no files");
  for (size_t t = 0; t < shard->tables(); ++t) shard->table(t).RestoreTotal(cut.totals()[t]);
  shard->RestorePosition(*cut.position());
  return Status::Ok();
}

Status VerifyCheckpoint(const std::string& dir, std::string* report) {
  EMPORIUM_ASSIGN_OR_RETURN(const spec::CheckpointManifest manifest, runtime::ReadManifest(dir));
  for (const spec::ManifestFile& entry : manifest.file()) {
    EMPORIUM_RETURN_IF_ERROR(Diagnose(PathOf(dir, entry), entry));
  }
  std::map<PartitionId, std::string> digests;
  std::map<std::string, uint64_t> rows;
  uint64_t bytes = 0;
  Cut cut;
  for (const spec::ManifestFile& entry : manifest.file()) {
    EMPORIUM_ASSIGN_OR_RETURN(const std::unique_ptr<ShardFile> file,
                              ShardFile::Open(PathOf(dir, entry)));
    if (file->facts().job_fingerprint != manifest.job_fingerprint()) {
      return DataLoss(file->path() + ": is of another job than the manifest");
    }
    EMPORIUM_RETURN_IF_ERROR(cut.Join(*file));
    EMPORIUM_RETURN_IF_ERROR(DigestFile(*file, &digests, &rows));
    bytes += entry.bytes();
  }
  Result<std::string> digest = runtime::ContentDigest(digests, manifest.partitions());
  if (!digest.ok()) return DataLoss(dir + ": " + digest.status().message());
  if (*digest != manifest.content_digest()) {
    return DataLoss(dir + ": the rows' digest is " + *digest + ", the manifest says " +
                    manifest.content_digest());
  }
  *report = "checkpoint " + std::to_string(manifest.number()) + " of job " + manifest.job_name() +
            ": stage " + std::to_string(manifest.stage()) + ", step " +
            std::to_string(manifest.step()) + "\n" + std::to_string(manifest.file_size()) +
            " files, " + std::to_string(bytes) + " bytes, all as written\n";
  for (const auto& [table, n] : rows) *report += table + ": " + std::to_string(n) + " rows\n";
  *report += "content digest " + *digest + "\n";
  return Status::Ok();
}

}  // namespace emporium::ps
