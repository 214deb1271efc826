// What writer and reader of a shard's HDF5 file (the layout in ps/checkpoint.h) share: a block of
// rows as columns, names, and the file opened for reading. Belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/ids.h"
#include "proto/status.h"
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
  void Clear();
  void Resize(size_t rows);
  void Append(const RowView& row);
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
  Position position;
};

// A shard's file, open for reading. Everything that it says about itself is checked against the
// rest of the file before it is believed.
class ShardFile {
 public:
  struct TableFacts {
    std::string name;
    RowLayout layout;
    Table::Total total;
    std::vector<uint64_t> offset;  // [partitions of the file + 1]
    // Admission: sketches of the file's partitions, one after another, and what they hold.
    uint32_t sketch_width = 0;  // 0: none
    std::vector<uint8_t> sketch;
    std::vector<uint32_t> sketch_held;
    std::span<const uint8_t> sketch_of(size_t partition) const {
      const size_t cells = size_t{kSketchRows} * sketch_width;
      return std::span(sketch).subspan(partition * cells, cells);
    }
    uint64_t rows() const { return offset.back(); }
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

  const std::string path_;
  Hdf5Handle file_;
  ShardFileFacts facts_;
  std::vector<PartitionId> partition_;
  std::vector<TableFacts> tables_;
};

}  // namespace emporium::ps
