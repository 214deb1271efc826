// Writing a shard's file: partition by partition, through one chunk of each column.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "proto/check.h"
#include "ps/checkpoint.h"
#include "ps/digest.h"
#include "ps/fletcher32.h"
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
    EMPORIUM_CHECK(H5Tget_size(type) == sizeof(T), "an attribute is read as what it is");
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
    const Hdf5Handle settings(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
    if (!settings.ok() || H5Pset_obj_track_times(settings.id(), false) < 0) return Failed(name);
    Hdf5Handle group(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, settings.id(), H5P_DEFAULT),
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
    // The same rows are the same bytes, whenever they are written.
    if (!space.ok() || !settings.ok() || H5Pset_obj_track_times(settings.id(), false) < 0) {
      return Failed(column.name);
    }
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

  // The chunk that begins with row `first`, already with its checksum behind it: HDF5 has but to
  // put it into the file.
  Status WriteChunk(const Hdf5Handle& dataset, const char* name, uint64_t first,
                    std::span<const std::byte> chunk) {
    const hsize_t offset[2] = {first, 0};
    if (H5Dwrite_chunk(dataset.id(), H5P_DEFAULT, 0, offset, chunk.size(), chunk.data()) < 0) {
      return Failed(name);
    }
    return file_.status();
  }

  Status WriteWhole(hid_t parent, const Column& column, uint64_t rows) {
    EMPORIUM_ASSIGN_OR_RETURN(Hdf5Handle dataset, Dataset(parent, column, rows, rows));
    if (rows > 0 && H5Dwrite(dataset.id(), column.memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                             column.data) < 0) {
      return Failed(column.name);
    }
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

// A column's next chunk, which rows fill one after another.
class ChunkBuffer {
 public:
  ChunkBuffer(const Column& column, uint64_t chunk_rows)
      : name_(column.name),
        row_bytes_(column.width * H5Tget_size(column.memory_type)),
        bytes_(chunk_rows * row_bytes_ + sizeof(uint32_t)) {}

  const char* name() const { return name_; }
  size_t row_bytes() const { return row_bytes_; }
  void Set(size_t row, const void* value) {
    if (row_bytes_ > 0) std::memcpy(bytes_.data() + row * row_bytes_, value, row_bytes_);
  }
  // The whole chunk with its checksum; what is behind `rows` rows is zeros.
  std::span<const std::byte> Seal(size_t rows) {
    const size_t end = bytes_.size() - sizeof(uint32_t);
    std::fill(bytes_.begin() + static_cast<ptrdiff_t>(rows * row_bytes_),
              bytes_.begin() + static_cast<ptrdiff_t>(end), std::byte{0});
    const uint32_t sum = Fletcher32(std::span(bytes_).first(end));
    std::memcpy(bytes_.data() + end, &sum, sizeof(sum));
    return bytes_;
  }

 private:
  const char* name_;
  size_t row_bytes_;
  std::vector<std::byte> bytes_;
};

// One table of the file: its datasets, and their chunks that fill up until they are written.
class TableWriter {
 public:
  TableWriter(Writer& writer, const CutTable& table, const CutSource& source)
      : writer_(writer),
        table_(table),
        source_(source),
        reader_(table.layout),
        chunk_rows_(std::min(RowsPerBlock(table.layout), table.rows)) {}

  // Appends each partition's digest of rows to `digests`, in the order of the cut.
  Status Write(hid_t tables, size_t partitions, bool changes, std::vector<std::string>* digests) {
    EMPORIUM_ASSIGN_OR_RETURN(Hdf5Handle group,
                              writer_.Group(tables, std::to_string(table_.id.value())));
    EMPORIUM_RETURN_IF_ERROR(WriteAttributes(group.id()));
    RowBlock none;
    none.layout = table_.layout;
    for (const Column& column : ColumnsOf(none)) {
      EMPORIUM_ASSIGN_OR_RETURN(Hdf5Handle dataset,
                                writer_.Dataset(group.id(), column, table_.rows, chunk_rows_));
      datasets_.push_back(std::move(dataset));
      chunks_.emplace_back(column, chunk_rows_);
    }
    std::vector<uint64_t> offset = {0};
    RowsDigest digest;
    for (size_t p = 0; p < partitions; ++p) {
      EMPORIUM_RETURN_IF_ERROR(WriteRows(&digest));
      if (changes) {
        const uint64_t first = table_.gone_offset[p];
        digest.Add(std::span(table_.gone).subspan(first, table_.gone_offset[p + 1] - first));
      }
      if (table_.sketch_width > 0) digest.Add(table_.sketch_of(p), table_.sketch_held[p]);
      digests->push_back(digest.Finish());
      offset.push_back(written_ + filled_);
    }
    EMPORIUM_RETURN_IF_ERROR(Flush());
    EMPORIUM_CHECK(written_ == table_.rows, "pieces hold every row of the cut");
    for (Hdf5Handle& dataset : datasets_) {
      if (!dataset.CloseNow()) return writer_.Failed("a dataset of " + table_.name);
    }
    EMPORIUM_RETURN_IF_ERROR(Whole(group.id(), "offset", H5T_STD_U64LE, offset));
    if (changes) {
      EMPORIUM_RETURN_IF_ERROR(Whole(group.id(), "gone", H5T_STD_U64LE, table_.gone));
      EMPORIUM_RETURN_IF_ERROR(Whole(group.id(), "gone_offset", H5T_STD_U64LE, table_.gone_offset));
    }
    if (table_.sketch_width > 0) {
      EMPORIUM_RETURN_IF_ERROR(Whole(group.id(), "sketch", H5T_STD_U8LE, table_.sketch));
      EMPORIUM_RETURN_IF_ERROR(Whole(group.id(), "sketch_held", H5T_STD_U32LE, table_.sketch_held));
    }
    if (table_.total.slots.empty()) return Status::Ok();
    return Whole(group.id(), "slot_totals", H5T_IEEE_F64LE, table_.total.slots);
  }

 private:
  Status WriteAttributes(hid_t group) {
    const RowLayout& layout = table_.layout;
    const uint8_t popularity = layout.popularity_bytes > 0 ? 1 : 0;
    const Table::Total& total = table_.total;
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "name", table_.name));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "dim", H5T_STD_U32LE, layout.dim));
    const auto element = static_cast<uint8_t>(layout.element);
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "element", H5T_STD_U8LE, element));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "state", H5T_STD_U32LE, layout.state));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "popularity", H5T_STD_U8LE, popularity));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "total_value", H5T_IEEE_F64LE, total.value));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "total_step", H5T_STD_U32LE, total.step));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "total_time", H5T_STD_U32LE, total.time));
    EMPORIUM_RETURN_IF_ERROR(writer_.Attribute(group, "extra", H5T_STD_U32LE, layout.extra));
    return writer_.Attribute(group, "sketch_width", H5T_STD_U32LE, table_.sketch_width);
  }

  // The rows of one partition, which come in no order.
  Status WriteRows(RowsDigest* digest) {
    std::vector<CutPiece> pieces;
    do {
      std::optional<CutPiece> piece = source_();
      if (!piece.has_value()) return Cancelled("the checkpoint was given up");
      pieces.push_back(*std::move(piece));
    } while (!pieces.back().last);
    const size_t record = RecordBytes(reader_.shape());
    std::vector<std::pair<uint64_t, const std::byte*>> rows;
    for (const CutPiece& piece : pieces) {
      for (size_t at = 0; at < piece.rows.size(); at += record) {
        rows.emplace_back(RowReader::KeyOf(piece.rows.data() + at), piece.rows.data() + at);
      }
    }
    std::sort(rows.begin(), rows.end());
    for (const auto& [key, bytes] : rows) {
      const RowView& row = reader_.ReadRaw(bytes);
      digest->Add(row, table_.layout.popularity_bytes > 0);
      Append(row);
      if (filled_ == chunk_rows_) EMPORIUM_RETURN_IF_ERROR(Flush());
    }
    return Status::Ok();
  }

  // In the order of ColumnsOf.
  void Append(const RowView& row) {
    size_t c = 0;
    chunks_[c++].Set(filled_, &row.key);
    chunks_[c++].Set(filled_, row.raw.data());
    chunks_[c++].Set(filled_, row.state.data());
    chunks_[c++].Set(filled_, &row.last_step);
    chunks_[c++].Set(filled_, &row.updates);
    if (table_.layout.popularity_bytes > 0) chunks_[c++].Set(filled_, &row.popularity);
    if (table_.layout.extra > 0) chunks_[c++].Set(filled_, row.extra.data());
    ++filled_;
  }

  Status Flush() {
    if (filled_ == 0) return Status::Ok();
    for (size_t c = 0; c < chunks_.size(); ++c) {
      if (chunks_[c].row_bytes() == 0) continue;
      EMPORIUM_RETURN_IF_ERROR(
          writer_.WriteChunk(datasets_[c], chunks_[c].name(), written_, chunks_[c].Seal(filled_)));
    }
    written_ += filled_;
    filled_ = 0;
    return Status::Ok();
  }

  template <class T>
  Status Whole(hid_t group, const char* name, hid_t type, const std::vector<T>& values) {
    // HDF5 only reads what it is given to write.
    return writer_.WriteWhole(group, {name, type, 1, false, const_cast<T*>(values.data())},
                              values.size());
  }

  Writer& writer_;
  const CutTable& table_;
  const CutSource& source_;
  RowReader reader_;
  const uint64_t chunk_rows_;
  std::vector<Hdf5Handle> datasets_;  // by column
  std::vector<ChunkBuffer> chunks_;   // by column
  uint64_t filled_ = 0;               // rows in chunks_
  uint64_t written_ = 0;              // ... and before them
};

Status WriteRoot(Writer& writer, hid_t root, const Cut& cut, const std::string& fingerprint) {
  const uint32_t shard = cut.shard.value();
  const uint32_t stage = cut.position.stage->value();
  const uint64_t version = cut.position.version.value();
  const uint32_t format = cut.parent == 0 ? kShardFileFormat : kChangesFileFormat;
  EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "format", H5T_STD_U32LE, format));
  EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "job_fingerprint", fingerprint));
  EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "shard", H5T_STD_U32LE, shard));
  EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "partitions", H5T_STD_U32LE, cut.partitions));
  EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "stage", H5T_STD_U32LE, stage));
  EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "version", H5T_STD_U64LE, version));
  EMPORIUM_RETURN_IF_ERROR(
      writer.Attribute(root, "global_step", H5T_STD_U32LE, cut.position.global_step));
  if (cut.parent != 0) {
    EMPORIUM_RETURN_IF_ERROR(writer.Attribute(root, "parent", H5T_STD_U64LE, cut.parent));
  }
  std::vector<uint16_t> ids;
  ids.reserve(cut.partition.size());
  for (PartitionId p : cut.partition) ids.push_back(p.value());
  return writer.WriteWhole(root, {"partition", H5T_STD_U16LE, 1, false, ids.data()}, ids.size());
}

// Everything up to the closed and synced file. Returns its digest.
Result<std::string> WriteContent(const Cut& cut, const CutSource& source, const std::string& path,
                                 const std::string& fingerprint,
                                 std::map<PartitionId, std::string>* partition_digests) {
  const Hdf5Quiet quiet;
  EMPORIUM_ASSIGN_OR_RETURN(const std::unique_ptr<OutputFile> file, OutputFile::Create(path));
  EMPORIUM_FAILPOINT("server.checkpoint_file_opened");
  Writer writer(*file, path);
  std::vector<std::vector<std::string>> digests(cut.tables.size());  // [table][partition]
  {
    const Hdf5Handle root(H5Gopen2(file->id(), "/", H5P_DEFAULT), H5Gclose);
    if (!root.ok()) return writer.Failed("the root group");
    EMPORIUM_RETURN_IF_ERROR(WriteRoot(writer, root.id(), cut, fingerprint));
    EMPORIUM_ASSIGN_OR_RETURN(const Hdf5Handle tables, writer.Group(root.id(), "tables"));
    for (size_t i = 0; i < cut.tables.size(); ++i) {
      TableWriter table(writer, cut.tables[i], source);
      EMPORIUM_RETURN_IF_ERROR(
          table.Write(tables.id(), cut.partition.size(), cut.parent != 0, &digests[i]));
    }
  }
  for (size_t p = 0; p < cut.partition.size(); ++p) {
    std::vector<TablePart> parts;
    for (size_t i = 0; i < cut.tables.size(); ++i) {
      parts.push_back({std::move(digests[i][p]), cut.tables[i].total});
    }
    (*partition_digests)[cut.partition[p]] = PartitionDigest(parts);
  }
  return file->Finish();
}

// A checkpoint that cannot fit is not begun: the disk stays usable for whatever else is on it.
Status CheckSpace(const Cut& cut, const std::string& dir) {
  uint64_t wanted = kFileOverheadBytes;
  for (const CutTable& table : cut.tables) {
    const uint64_t words = 5 + uint64_t{table.layout.state} + table.layout.extra;
    wanted += table.rows * (WeightBytes(table.layout.element, table.layout.dim) + 4 * words);
    wanted += table.sketch.size() + table.gone.size() * sizeof(uint64_t);
  }
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(dir, error);
  if (error) return Unavailable(dir + ": " + error.message());
  if (space.available >= wanted) return Status::Ok();
  return ResourceExhausted(dir + ": the checkpoint of shard " + std::to_string(cut.shard.value()) +
                           " needs about " + std::to_string(wanted >> 20) + " MiB, " +
                           std::to_string(space.available >> 20) +
                           " MiB are free; free some space or choose another work_dir");
}

}  // namespace

Result<ShardFileInfo> WriteShardFile(const Cut& cut, const CutSource& source,
                                     const std::string& dir, const std::string& job_fingerprint,
                                     uint64_t incarnation) {
  EMPORIUM_RETURN_IF_ERROR(CheckSpace(cut, dir));
  ShardFileInfo info;
  info.parent = cut.parent;
  info.path = "shard-" + std::to_string(cut.shard.value()) + ".h5";
  const std::string path = dir + "/" + info.path;
  const std::string temporary = dir + "/." + info.path + ".tmp-" + std::to_string(incarnation);
  auto write = [&]() -> Status {
    EMPORIUM_ASSIGN_OR_RETURN(
        info.xxh3, WriteContent(cut, source, temporary, job_fingerprint, &info.partition_digests));
    EMPORIUM_FAILPOINT("server.checkpoint_file_synced");
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

Result<ShardFileInfo> WriteShardFile(Shard& shard, const std::string& dir,
                                     const std::string& job_fingerprint, uint64_t incarnation) {
  const Cut cut = shard.BeginCut(0, 0);
  const CutSource source = [&shard]() -> std::optional<CutPiece> {
    CutPiece piece;
    if (!shard.NextPiece(kCutPieceBytes, &piece)) return std::nullopt;
    return piece;
  };
  Result<ShardFileInfo> info = WriteShardFile(cut, source, dir, job_fingerprint, incarnation);
  shard.EndCut();
  return info;
}

}  // namespace emporium::ps
