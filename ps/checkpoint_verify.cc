// Reading a checkpoint back whole, and saying what is wrong with it.
#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "ps/checkpoint.h"
#include "ps/digest.h"
#include "ps/shard_file.h"
#include "runtime/file.h"
#include "runtime/manifest.h"

namespace emporium::ps {
namespace {

using Digests = std::map<PartitionId, std::string>;

// Of manifests, from which on their content digest is made as here (ps/digest.h).
constexpr uint32_t kDigestFormat = 3;

// Adds the digests of a file's partitions, and counts its rows by table.
Status DigestFile(const ShardFile& file, Digests* digests, std::map<std::string, uint64_t>* rows) {
  std::vector<std::vector<TablePart>> parts(file.partition().size());
  for (size_t t = 0; t < file.tables().size(); ++t) {
    const ShardFile::TableFacts& table = file.tables()[t];
    (*rows)[table.name] += table.rows;
    RowBlock block;
    uint64_t block_first = 0;
    RowsDigest digest;
    for (size_t p = 0; p < parts.size(); ++p) {
      for (uint64_t row = table.offset[p]; row < table.offset[p + 1]; ++row) {
        if (row == block_first + block.rows()) {
          const uint64_t count = std::min(RowsPerBlock(table.layout), table.rows - row);
          EMPORIUM_RETURN_IF_ERROR(file.Read(t, row, count, &block));
          block_first = row;
        }
        digest.Add(block.row(row - block_first), table.layout.popularity_bytes > 0);
      }
      if (file.facts().parent != 0) digest.Add(table.gone_of(p));
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
    for (uint64_t row = 0; row < file.tables()[t].rows; row += most) {
      const uint64_t count = std::min(most, file.tables()[t].rows - row);
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
  Status digest = runtime::VerifyDigest(path, wanted);
  if (digest.code() != StatusCode::kDataLoss) return digest;
  const std::string what = digest.message();
  const Result<std::unique_ptr<ShardFile>> file = ShardFile::Open(path);
  if (!file.ok()) return DataLoss(what + ": " + file.status().message());
  const Status chunk = FirstBadChunk(**file);
  if (!chunk.ok()) return DataLoss(what + ": " + chunk.message());
  return DataLoss(what +
                  ": every row's checksum is right, so the change lies in bytes between "
                  "the datasets");
}

// The files of one shard, the first of which holds all rows and the others changes: what they come
// to. Reads partition by partition.
class Merge {
 public:
  explicit Merge(std::vector<std::unique_ptr<ShardFile>> files) : files_(std::move(files)) {}

  Status Digest(Digests* digests, std::map<std::string, uint64_t>* rows) const {
    const ShardFile& newest = *files_.back();
    for (size_t p = 0; p < newest.partition().size(); ++p) {
      std::vector<TablePart> parts;
      for (size_t t = 0; t < newest.tables().size(); ++t) {
        RowsDigest digest;
        EMPORIUM_ASSIGN_OR_RETURN(const uint64_t count, AddRows(t, p, &digest));
        const ShardFile::TableFacts& table = newest.tables()[t];
        (*rows)[table.name] += count;
        if (table.sketch_width > 0) digest.Add(table.sketch_of(p), table.sketch_held[p]);
        parts.push_back({digest.Finish(), table.total});
      }
      (*digests)[newest.partition()[p]] = PartitionDigest(parts);
    }
    return Status::Ok();
  }

 private:
  Result<uint64_t> AddRows(size_t t, size_t p, RowsDigest* digest) const {
    std::vector<RowBlock> blocks(files_.size());
    std::map<uint64_t, std::pair<size_t, size_t>> place;  // of a key: block, row
    for (size_t f = 0; f < files_.size(); ++f) {
      const ShardFile::TableFacts& table = files_[f]->tables()[t];
      for (const uint64_t key : table.gone_of(p)) place.erase(key);
      const uint64_t first = table.offset[p];
      EMPORIUM_RETURN_IF_ERROR(files_[f]->Read(t, first, table.offset[p + 1] - first, &blocks[f]));
      for (size_t i = 0; i < blocks[f].rows(); ++i) place[blocks[f].key[i]] = {f, i};
    }
    for (const auto& [key, at] : place) {
      const RowBlock& block = blocks[at.first];
      digest->Add(block.row(at.second), block.layout.popularity_bytes > 0);
    }
    return place.size();
  }

  const std::vector<std::unique_ptr<ShardFile>> files_;
};

// The digest of all rows, where some files hold changes.
Result<std::string> DigestOfAll(const std::string& dir, const spec::CheckpointManifest& manifest,
                                std::map<std::string, uint64_t>* rows) {
  Digests digests;
  CheckpointFiles files(dir, manifest);
  std::vector<std::unique_ptr<ShardFile>> of_shard;
  while (files.more()) {
    EMPORIUM_ASSIGN_OR_RETURN(std::unique_ptr<ShardFile> file, files.Next());
    of_shard.push_back(std::move(file));
    if (!files.newest()) continue;
    EMPORIUM_RETURN_IF_ERROR(Merge(std::exchange(of_shard, {})).Digest(&digests, rows));
  }
  return runtime::ContentDigest(digests, manifest.partitions());
}

}  // namespace

Status VerifyCheckpoint(const std::string& dir, std::string* report) {
  EMPORIUM_ASSIGN_OR_RETURN(const spec::CheckpointManifest manifest, runtime::ReadManifest(dir));
  for (const spec::ManifestFile& entry : manifest.file()) {
    EMPORIUM_RETURN_IF_ERROR(Diagnose((std::filesystem::path(dir) / entry.path()).string(), entry));
  }
  Digests digests;
  std::map<std::string, uint64_t> rows;
  uint64_t bytes = 0;
  uint64_t linked = 0;  // files
  CheckpointFiles files(dir, manifest);
  while (files.more()) {
    EMPORIUM_ASSIGN_OR_RETURN(const std::unique_ptr<ShardFile> file, files.Next());
    if (file->facts().job_fingerprint != manifest.job_fingerprint()) {
      return DataLoss(file->path() + ": is of another job than the manifest");
    }
    if (files.newest()) {
      EMPORIUM_RETURN_IF_ERROR(DigestFile(*file, &digests, &rows));
    } else {
      ++linked;
    }
  }
  for (const spec::ManifestFile& entry : manifest.file()) bytes += entry.bytes();
  Result<std::string> digest = runtime::ContentDigest(digests, manifest.partitions());
  if (!digest.ok()) return DataLoss(dir + ": " + digest.status().message());
  const bool older = manifest.format() < kDigestFormat;
  if (!older && *digest != manifest.content_digest()) {
    return DataLoss(dir + ": the rows' digest is " + *digest + ", the manifest says " +
                    manifest.content_digest());
  }
  if (linked > 0) {
    rows.clear();
    digest = DigestOfAll(dir, manifest, &rows);
    if (!digest.ok()) return DataLoss(dir + ": " + digest.status().message());
  }
  *report = "checkpoint " + std::to_string(manifest.number()) + " of job " + manifest.job_name() +
            ": stage " + std::to_string(manifest.stage()) + ", step " +
            std::to_string(manifest.step()) + "\n" + std::to_string(manifest.file_size()) +
            " files, " + std::to_string(bytes) + " bytes, all as written\n";
  if (linked > 0) {
    *report +=
        std::to_string(linked) + " of them of earlier checkpoints, to which it has changes\n";
  }
  for (const auto& [table, n] : rows) *report += table + ": " + std::to_string(n) + " rows\n";
  *report += "content digest " + *digest + "\n";
  if (older) *report += "(not compared: the manifest has that of an older Emporium)\n";
  return Status::Ok();
}

}  // namespace emporium::ps
