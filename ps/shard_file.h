// What writer and reader of a shard's HDF5 file (the layout in ps/checkpoint.h) share: a block of
// rows as columns, names, and the file opened for reading. Belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "proto/ids.h"
#include "proto/manifest.pb.h"
#include "proto/status.h"
#include "ps/cut.h"
#include "ps/hdf5.h"
#include "ps/shard.h"
#include "ps/table.h"

namespace emporium::ps {

// Rows that are written or read at once, and of a chunk: about 1 MiB of the widest column.
uint64_t RowsPerBlock(const RowLayout& layout);

// The columns of some rows.
struct RowBlock {
  RowLayout layout;
  std::vector<uint64_t> key;
  std::vector<std::byte> weights;  // in the layout's element type
  std::vector<float> state, popularity;
  std::vector<uint32_t> last_step, updates, extra;

  size_t rows() const { return key.size(); }
  void Resize(size_t rows);
  RowView row(size_t i) const;
};

// One column of a table as the file knows it.
struct Column {
  const char* name;
  hid_t memory_type;
  uint64_t width;  // elements of a row
  bool vector;     // two dimensions, even if width is 1
  void* data;      // of the block that it was made for
};
// The columns that a table of this layout has, over the block's vectors.
std::vector<Column> ColumnsOf(RowBlock& block);

struct ShardFileFacts {
  uint32_t format = 0;
  std::string job_fingerprint;
  uint32_t shard = 0;
  uint32_t partitions = 0;  // of the key space
  uint64_t parent = 0;      // checkpoint that the file holds the changes since; 0: all rows
  Position position;
};

// A shard's file, open for reading. Everything that it says about itself is checked against the
// rest of the file before it is believed.
class ShardFile {
 public:
  struct TableFacts : CutTable {
    std::vector<uint64_t> offset;  // [partitions of the file + 1]
    // Of a file of changes: keys whose rows went, of the file's i-th partition.
    std::span<const uint64_t> gone_of(size_t partition) const {
      if (gone_offset.empty()) return {};
      const uint64_t first = gone_offset[partition];
      return std::span(gone).subspan(first, gone_offset[partition + 1] - first);
    }
  };

  static Result<std::unique_ptr<ShardFile>> Open(const std::string& path);
  ShardFile(std::string path, Hdf5Handle file) : path_(std::move(path)), file_(std::move(file)) {}

  const std::string& path() const { return path_; }
  const ShardFileFacts& facts() const { return facts_; }
  const std::vector<PartitionId>& partition() const { return partition_; }
  const std::vector<TableFacts>& tables() const { return tables_; }

  // Rows [first, first + count) of a table into `block`.
  Status Read(size_t table, uint64_t first, uint64_t count, RowBlock* block) const;
  // For people: where in the file the first unreadable column's chunk with this row lies, "bytes
  // [a, b)"; empty when that cannot be said.
  std::string BytesOf(size_t table, uint64_t row) const;

 private:
  Status ReadFacts();
  Result<TableFacts> ReadTable(size_t table) const;
  Status ReadGone(hid_t group, const std::string& where, TableFacts* facts) const;

  const std::string path_;
  Hdf5Handle file_;
  ShardFileFacts facts_;
  std::vector<PartitionId> partition_;
  std::vector<TableFacts> tables_;
};

// The files of a checkpoint one after another, as the manifest names them, and what they must have
// in common: one cut, one set of totals, and that changes follow what they are changes to.
class CheckpointFiles {
 public:
  // Both outlive it.
  CheckpointFiles(const std::string& dir, const spec::CheckpointManifest& manifest)
      : dir_(dir), manifest_(manifest) {}

  bool more() const { return next_ < manifest_.file_size(); }
  // Opens the next one. DataLoss when it does not fit the others.
  Result<std::unique_ptr<ShardFile>> Next();
  // Whether the file that was opened last is of this checkpoint, and not of an earlier one.
  bool newest() const { return NumberOf(manifest_.file(next_ - 1)) == manifest_.number(); }
  // Of the checkpoint, once one of its own files has been opened.
  const std::optional<Position>& position() const { return position_; }
  const std::vector<Table::Total>& totals() const { return totals_; }

 private:
  uint64_t NumberOf(const spec::ManifestFile& file) const {
    return file.has_checkpoint() ? file.checkpoint() : manifest_.number();
  }
  Status CheckFollows(const ShardFile& file);
  Status CheckAlike(const ShardFile& file);

  const std::string& dir_;
  const spec::CheckpointManifest& manifest_;
  int next_ = 0;
  std::vector<PartitionId> before_;  // partitions of the file before
  std::optional<Position> position_;
  std::vector<Table::Total> totals_;
};

}  // namespace emporium::ps
