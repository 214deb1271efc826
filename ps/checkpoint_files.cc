// The files of a checkpoint in the order of its manifest.
#include <filesystem>
#include <utility>

#include "ps/shard_file.h"

namespace emporium::ps {

Result<std::unique_ptr<ShardFile>> CheckpointFiles::Next() {
  const spec::ManifestFile& entry = manifest_.file(next_++);
  EMPORIUM_ASSIGN_OR_RETURN(std::unique_ptr<ShardFile> file,
                            ShardFile::Open((std::filesystem::path(dir_) / entry.path()).string()));
  EMPORIUM_RETURN_IF_ERROR(CheckFollows(*file));
  if (newest()) EMPORIUM_RETURN_IF_ERROR(CheckAlike(*file));
  if (!more() && !newest()) {
    return DataLoss(file->path() + ": no changes up to checkpoint " +
                    std::to_string(manifest_.number()) + " follow it in the manifest");
  }
  before_ = file->partition();
  return file;
}

// Changes follow the file of the same shard, of the checkpoint that they are changes to; and a file
// of an earlier checkpoint is followed by changes.
Status CheckpointFiles::CheckFollows(const ShardFile& file) {
  const spec::ManifestFile* const before = next_ >= 2 ? &manifest_.file(next_ - 2) : nullptr;
  const uint64_t parent = file.facts().parent;
  if (parent == 0) {
    if (before == nullptr || NumberOf(*before) == manifest_.number()) return Status::Ok();
    return DataLoss(file.path() + ": holds all rows, where changes to " + before->path() +
                    " should be");
  }
  if (before != nullptr && NumberOf(*before) == parent && before_ == file.partition()) {
    return Status::Ok();
  }
  return DataLoss(file.path() + ": holds changes since checkpoint " + std::to_string(parent) +
                  ", whose file is not before it in the manifest, but " +
                  (before == nullptr
                       ? "none"
                       : before->path() + " of checkpoint " + std::to_string(NumberOf(*before))));
}

Status CheckpointFiles::CheckAlike(const ShardFile& file) {
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

}  // namespace emporium::ps
