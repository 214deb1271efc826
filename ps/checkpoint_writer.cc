// Writing a shard's file: partition by partition, through one block of rows.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "proto/check.h"
#include "ps/checkpoint.h"
#include "ps/digest.h"
#include "ps/hdf5.h"
#include "ps/shard_file.h"
#include "runtime/failpoint.h"
#include "runtime/file.h"

namespace emporium::ps {
namespace {

// Beside the rows: headers, chunk indexes and what rounding up to blocks of the disk takes.
constexpr uint64_t kFileOverheadBytes = 1 << 20;

class Writer {
 public:
  Writer(OutputFile& file, std::string path) : file_(file), path_(std::move(path)) {}

  template <class T>
  Status Attribute(hid_t object, const char* name, hid_t type, const T& value) {
    const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    return WriteAttribute(object, name, type, space, &value);
  }
  Status Attribute(hid_t object, const char* name, const std::string& value) {
    const Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
    // A string type of no length does not exist; the padding is zeros.
    if (H5Tset_size(type.id(), std::max<size_t>(value.size(), 1)) < 0 ||
        H5Tset_strpad(type.id(), H5T_STR_NULLPAD) < 0) {
      return Failed(name);
    }
    const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    return WriteAttribute(object, name, type.id(), space, value.c_str());
  }

  Result<Hdf5Handle> Group(hid_t parent, const std::string& name) {
    Hdf5Handle group(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                     H5Gclose);
    if (!group.ok()) return Failed(name);
    return group;
  }

  // A dataset [rows] or [rows, width].
  Result<Hdf5Handle> Dataset(hid_t parent, const Column& column, uint64_t rows,
                             uint64_t chunk_rows) {
    const hsize_t extent[2] = {rows, column.width};
    const Hdf5Handle space(H5Screate_simple(column.vector ? 2 : 1, extent, nullptr), H5Sclose);
    const Hdf5Handle settings(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    if (!space.ok() || !settings.ok()) return Failed(column.name);
    if (rows * column.width > 0) {  // HDF5 has no chunks without elements
      const hsize_t chunk[2] = {std::min(rows, chunk_rows), column.width};
      if (H5Pset_chunk(settings.id(), column.vector ? 2 : 1, chunk) < 0 ||
          H5Pset_fletcher32(settings.id()) < 0) {
        return Failed(column.name);
      }
    }
    Hdf5Handle dataset(H5Dcreate2(parent, column.name, column.memory_type, space.id(), H5P_DEFAULT,
                                  settings.id(), H5P_DEFAULT),
                       H5Dclose);
    if (!dataset.ok()) return Failed(column.name);
    return dataset;
  }

  // Rows [first, first + count) of the column's data.
  Status Write(const Hdf5Handle& dataset, const Column& column, uint64_t first, uint64_t count) {
    if (count * column.width == 0) return Status::Ok();
    const hsize_t start[2] = {first, 0};
    const hsize_t extent[2] = {count, column.width};
    const Hdf5Handle memory(H5Screate_simple(column.vector ? 2 : 1, extent, nullptr), H5Sclose);
    const Hdf5Handle space(H5Dget_space(dataset.id()), H5Sclose);
    if (H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start, nullptr, extent, nullptr) < 0 ||
        H5Dwrite(dataset.id(), column.memory_type, memory.id(), space.id(), H5P_DEFAULT,
                 column.data) < 0) {
      return Failed(column.name);
    }
    return file_.status();
  }

  Status WriteWhole(hid_t parent, const Column& column, uint64_t rows) {
    EMPORIUM_ASSIGN_OR_RETURN(Hdf5Handle dataset, Dataset(parent, column, rows, rows));
    EMPORIUM_RETURN_IF_ERROR(Write(dataset, column, 0, rows));
    return dataset.CloseNow() ? file_.status() : Failed(column.name);
  }

  // What the disk said first, else what HDF5 says now.
  Status Failed(const std::string& what) {
    EMPORIUM_RETURN_IF_ERROR(file_.status());
    return Hdf5Error(path_ + ": cannot write " + what);
  }

 private:
  Status WriteAttribute(hid_t object, const char* name, hid_t type, const Hdf5Handle& space,
                        const void* value) {
    const Hdf5Handle attribute(H5Acreate2(object, name, type, space.id(), H5P_DEFAULT, H5P_DEFAULT),
                               H5Aclose);
    if (!attribute.ok() || H5Awrite(attribute.id(), type, value) < 0) return Failed(name);
    return Status::Ok();
  }

  OutputFile& file_;
  const std::string path_;
};

// One table of the file: its datasets, and the block that fills up until it is written.
class TableWriter {
 public:
  TableWriter(Writer& writer, const Table& table) : writer_(writer), table_(table) {
    block_.layout = table.layout();
    rows_per_block_ = RowsPerBlock(block_.layout);
  }

  // Appends each partition's digest of rows to `digests`, in the order of `partitions`.
  Status Write(hid_t tables, const std::vector<PartitionId>& partitions,
               std::vector<std::string>* digests) {
    EMPORIUM_ASSIGN_OR_RETURN(Hdf5Handle group,
                              writer_.Group(tables, std::to_string(table_.settings().id.value())));
    EMPORIUM_RETURN_IF_ERROR(WriteAttributes(group.id()));
    for (const Column& column : ColumnsOf(block_)) {
      EMPORIUM_ASSIGN_OR_RETURN(
          Hdf5Handle dataset, writer_.Dataset(group.id(), column, table_.rows(), rows_per_block_));
      datasets_.push_back(std::move(dataset));
    }
    std::vector<uint64_t> offset = {0};
    RowsDigest digest;
    for (PartitionId partition : partitions) {
      table_.ForEachRow(partition, [&](const RowView& row) {
        if (!failure_.ok()) return;
        digest.Add(row, block_.layout.popularity_bytes > 0);
        block_.Append(row);
        if (block_.rows() == rows_per_block_) failure_ = Flush();
      });
      EMPORIUM_RETURN_IF_ERROR(failure_);
      if (const Admission* const admission = table_.admission()) {
        const std::span<const uint8_t> cells = admission->cells(partition);
        digest.Add(cells, admission->held(partition));
        sketch_.insert(sketch_.end(), cells.begin(), cells.end());
        sketch_held_.push_back(admission->held(partition));
      }
      digests->push_back(digest.Finish());
      offset.push_back(written_ + block_.rows());
    }
    EMPORIUM_RETURN_IF_ERROR(Flush());
    EMPORIUM_CHECK(written_ == table_.rows(), "partitions hold every row");
    for (Hdf5Handle& dataset : datasets_) {
      if (!dataset.CloseNow()) return writer_.Failed("a dataset of " + table_.settings().name);
    }
    if (table_.admission() != nullptr) {
      const Column cells{"sketch", H5T_STD_U8LE, 1, false, sketch_.data()};
      EMPORIUM_RETURN_IF_ERROR(writer_.WriteWhole(group.id(), cells, sketch_.size()));
      const Column held{"sketch_held", H5T_STD_U32LE, 1, false, sketch_held_.data()};
      EMPORIUM_RETURN_IF_ERROR(writer_.WriteWhole(group.id(), held, sketch_held_.size()));
    }
    std::vector<double> totals = table_.total().slots;
    if (!totals.empty()) {
      const Column of_slots{"slot_totals", H5T_IEEE_F64LE, 1, false, totals.data()};
      EMPORIUM_RETURN_IF_ERROR(writer_.WriteWhole(group.id(), of_slots, totals.size()));
    }
    const Column column{"offset", H5T_STD_U64LE, 1, false, offset.data()};
    return writer_.WriteWhole(group.id(), column, offset.size());
  }

 private:
  Status WriteAttributes(hid_t group) {
    const RowLayout& layout = block_.layout;
    const uint8_t popularity = layout.popularity_bytes > 0 ? 1 : 0;
    const Table::Total& total = table_.total();
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "name", table_.settings().name));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "dim", H5T_STD_U32LE, layout.dim));
    const auto element = static_cast<uint8_t>(layout.element);
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "element", H5T_STD_U8LE, element));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "state", H5T_STD_U32LE, layout.state));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "popularity", H5T_STD_U8LE, popularity));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "total_value", H5T_IEEE_F64LE, total.value));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "total_step", H5T_STD_U32LE, total.step));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "total_time", H5T_STD_U32LE, total.time));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "extra", H5T_STD_U32LE, layout.extra));
    const uint32_t width = table_.admission() != nullptr ? table_.admission()->width() : 0;
    return writer_.Attribute(group, "sketch_width", H5T_STD_U32LE, width);
  }

  Status Flush() {
    const std::vector<Column> columns = ColumnsOf(block_);
    for (size_t i = 0; i < columns.size(); ++i) {
      EMPORIUM_RETURN_IF_ERROR(writer_.Write(datasets_[i], columns[i], written_, block_.rows()));
    }
    written_ += block_.rows();
    block_.Clear();
    return Status::Ok();
  }

  Writer& writer_;
  const Table& table_;
  uint64_t rows_per_block_ = 0;
  RowBlock block_;
  std::vector<Hdf5Handle> datasets_;
  uint64_t written_ = 0;
  std::vector<uint8_t> sketch_;
  std::vector<uint32_t> sketch_held_;
  Status failure_;
};

Status WriteRoot(Writer& writer, hid_t root, const Shard& shard,
                 const std::vector<PartitionId>& partitions, const std::string& fingerprint) {
  const Position& position = shard.position();
  const uint32_t stage = position.stage->value();
  const uint64_t version = position.version.value();
  const uint32_t id = shard.config().id.value();
  EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "format", H5T_STD_U32LE, kShardFileFormat));
  EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "job_fingerprint", fingerprint));
  EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "shard", H5T_STD_U32LE, id));
  EMPORIUM_RETURN_IF_ERROR(
      writer.Attribute(root, "partitions", H5T_STD_U32LE, shard.config().partitions));
  EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "stage", H5T_STD_U32LE, stage));
  EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "version", H5T_STD_U64LE, version));
  EMPORIUM_RETURN_IF_ERROR(
      writer.Attribute(root, "global_step", H5T_STD_U32LE, position.global_step));
  std::vector<uint16_t> ids;
  ids.reserve(partitions.size());
  for (PartitionId p : partitions) ids.push_back(p.value());
  return writer.WriteWhole(root, {"partition", H5T_STD_U16LE, 1, false, ids.data()}, ids.size());
}

// Everything up to the closed and synced file.
Status WriteContent(const Shard& shard, const std::string& path, const std::string& fingerprint,
                    std::map<PartitionId, std::string>* partition_digests) {
  const Hdf5Quiet quiet;
  std::vector<PartitionId> partitions = shard.config().owned;
  std::sort(partitions.begin(), partitions.end());
  EMPORIUM_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> file, OutputFile::Create(path));
  EMPORIUM_FAILPOINT("server.checkpoint_file_opened");
  Writer writer(*file, path);
  std::vector<std::vector<std::string>> digests(shard.tables());  // [table][partition]
  {
    const Hdf5Handle root(H5Gopen2(file->id(), "/", H5P_DEFAULT), H5Gclose);
    if (!root.ok()) return writer.Failed("the root group");
    EMPORIUM_RETURN_IF_ERROR(WriteRoot(writer, root.id(), shard, partitions, fingerprint));
    EMPORIUM_ASSIGN_OR_RETURN(const Hdf5Handle tables, writer.Group(root.id(), "tables"));
    for (size_t i = 0; i < shard.tables(); ++i) {
      TableWriter table(writer, shard.table(i));
      EMPORIUM_RETURN_IF_ERROR(table.Write(tables.id(), partitions, &digests[i]));
    }
  }
  for (size_t p = 0; p < partitions.size(); ++p) {
    std::vector<TablePart> parts;
    for (size_t i = 0; i < shard.tables(); ++i) {
      parts.push_back({std::move(digests[i][p]), shard.table(i).total()});
    }
    (*partition_digests)[partitions[p]] = PartitionDigest(parts);
  }
  return file->Finish();
}

// A checkpoint that cannot fit is not begun: the disk stays usable for whatever else is on it.
Status CheckSpace(const Shard& shard, const std::string& dir) {
  uint64_t wanted = kFileOverheadBytes;
  for (size_t i = 0; i < shard.tables(); ++i) {
    const RowLayout& layout = shard.table(i).layout();
    const uint64_t words = 5 + uint64_t{layout.state} + layout.extra;
    wanted += shard.table(i).rows() * (shard.table(i).weight_bytes() + 4 * words);
    if (const Admission* const admission = shard.table(i).admission()) wanted += admission->bytes();
  }
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(dir, error);
  if (error) return Unavailable(dir + ": " + error.message());
  if (space.available >= wanted) return Status::Ok();
  return ResourceExhausted(dir + ": the checkpoint of shard " +
                           std::to_string(shard.config().id.value()) + " needs about " +
                           std::to_string(wanted >> 20) + " MiB, " +
                           std::to_string(space.available >> 20) +
                           " MiB are free; free some space or choose another work_dir");
}

}  // namespace

Result<ShardFileInfo> WriteShardFile(const Shard& shard, const std::string& dir,
                                     const std::string& job_fingerprint, uint64_t incarnation) {
  EMPORIUM_CHECK(shard.position().stage.has_value(), "a checkpoint belongs to a stage");
  EMPORIUM_RETURN_IF_ERROR(CheckSpace(shard, dir));
  ShardFileInfo info;
  info.path = "shard-" + std::to_string(shard.config().id.value()) + ".h5";
  const std::string path = dir + "/" + info.path;
  const std::string temporary = dir + "/." + info.path + ".tmp-" + std::to_string(incarnation);
  auto write = [&]() -> Status {
    EMPORIUM_RETURN_IF_ERROR(
        WriteContent(shard, temporary, job_fingerprint, &info.partition_digests));
    EMPORIUM_FAILPOINT("server.checkpoint_file_synced");
    EMPORIUM_ASSIGN_OR_RETURN(info.sha256, runtime::Sha256OfFile(temporary));
    std::error_code error;
    info.bytes = std::filesystem::file_size(temporary, error);
    if (error) return Unavailable(temporary + ": " + error.message());
    EMPORIUM_RETURN_IF_ERROR(runtime::RenameDurably(temporary, path));
    EMPORIUM_FAILPOINT("server.checkpoint_file_renamed");
    return Status::Ok();
  };
  const Status status = write();
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  return info;
}

}  // namespace emporium::ps
