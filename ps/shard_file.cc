#include "ps/shard_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "proto/limits.h"
#include "ps/checkpoint.h"

namespace emporium::ps {
namespace {

constexpr uint64_t kBlockBytes = 1 << 20;
constexpr uint64_t kMaxRowsPerBlock = 1 << 16;
// More than any row has.
constexpr uint32_t kMaxState = 4 * limits::kMaxDim;        // floats
constexpr uint64_t kMaxGone = uint64_t{1} << 32;           // keys of a table
constexpr uint32_t kMaxExtra = 1 + 2 * limits::kMaxSlots;  // words, see ps/row_slots.h

Status ReadAttribute(hid_t object, const std::string& where, const char* name, hid_t type,
                     void* value) {
  const Hdf5Handle attribute(H5Aopen(object, name, H5P_DEFAULT), H5Aclose);
  const Hdf5Handle space(H5Aget_space(attribute.id()), H5Sclose);
  if (!attribute.ok() || H5Sget_simple_extent_npoints(space.id()) != 1 ||
      H5Aread(attribute.id(), type, value) < 0) {
    return Hdf5Error(where + ": attribute " + name + " cannot be read");
  }
  return Status::Ok();
}

Status ReadAttribute(hid_t object, const std::string& where, const char* name, std::string* value) {
  const Hdf5Handle attribute(H5Aopen(object, name, H5P_DEFAULT), H5Aclose);
  const Hdf5Handle type(H5Aget_type(attribute.id()), H5Tclose);
  const Hdf5Handle space(H5Aget_space(attribute.id()), H5Sclose);
  const size_t size = H5Tget_size(type.id());
  if (!attribute.ok() || H5Sget_simple_extent_npoints(space.id()) != 1 ||
      H5Tget_class(type.id()) != H5T_STRING || size == 0 || H5Tis_variable_str(type.id()) != 0 ||
      size > (64 << 10)) {
    return Hdf5Error(where + ": attribute " + name + " is no text");
  }
  value->assign(size, '\0');
  if (H5Aread(attribute.id(), type.id(), value->data()) < 0) {
    return Hdf5Error(where + ": attribute " + name + " cannot be read");
  }
  value->erase(std::find(value->begin(), value->end(), '\0'), value->end());
  return Status::Ok();
}

// The extent of a dataset of one or two dimensions; {0, 0} when it has another number of them.
std::pair<uint64_t, uint64_t> ExtentOf(hid_t dataset, bool vector) {
  const Hdf5Handle space(H5Dget_space(dataset), H5Sclose);
  hsize_t extent[2] = {0, 1};
  if (H5Sget_simple_extent_ndims(space.id()) != (vector ? 2 : 1) ||
      H5Sget_simple_extent_dims(space.id(), extent, nullptr) < 0) {
    return {0, 0};
  }
  return {extent[0], extent[1]};
}

// Whether the file holds so many elements of the dataset at all: one that says more than it holds
// would cost memory and time without end.
bool Holds(hid_t dataset, uint64_t rows, uint64_t width) {
  return width == 0 || rows <= H5Dget_storage_size(dataset) / width;
}

// A whole dataset of one dimension with at most `most` elements.
template <class T>
Status ReadWhole(hid_t parent, const std::string& where, const char* name, hid_t type,
                 uint64_t most, std::vector<T>* values) {
  const Hdf5Handle dataset(H5Dopen2(parent, name, H5P_DEFAULT), H5Dclose);
  if (!dataset.ok()) return Hdf5Error(where + ": no dataset " + name);
  const uint64_t rows = ExtentOf(dataset.id(), false).first;
  if (rows > most || !Holds(dataset.id(), rows, 1)) {
    return DataLoss(where + ": dataset " + name + " is too long");
  }
  values->resize(rows);
  if (rows > 0 && H5Dread(dataset.id(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values->data()) < 0) {
    return Hdf5Error(where + ": dataset " + name + " cannot be read");
  }
  return Status::Ok();
}

}  // namespace

uint64_t RowsPerBlock(const RowLayout& layout) {
  const uint64_t weights = WeightBytes(layout.element, layout.dim);
  const uint64_t widest = std::max<uint64_t>({weights, layout.state * sizeof(float), 8});
  return std::clamp<uint64_t>(kBlockBytes / widest, 1, kMaxRowsPerBlock);
}

void RowBlock::Resize(size_t rows) {
  key.resize(rows);
  weights.resize(rows * WeightBytes(layout.element, layout.dim));
  state.resize(rows * layout.state);
  popularity.resize(layout.popularity_bytes > 0 ? rows : 0);
  last_step.resize(rows);
  updates.resize(rows);
  extra.resize(rows * layout.extra);
}

RowView RowBlock::row(size_t i) const {
  RowView row;
  row.key = key[i];
  const size_t bytes = WeightBytes(layout.element, layout.dim);
  row.raw = std::span(weights).subspan(i * bytes, bytes);
  row.state = std::span(state).subspan(i * layout.state, layout.state);
  if (layout.popularity_bytes > 0) row.popularity = popularity[i];
  row.last_step = last_step[i];
  row.updates = updates[i];
  row.extra = std::as_bytes(std::span(extra).subspan(i * layout.extra, layout.extra));
  return row;
}

std::vector<Column> ColumnsOf(RowBlock& block) {
  const bool fp32 = block.layout.element == spec::FP32;
  const uint32_t dim = block.layout.dim;
  std::vector<Column> columns = {
      {"key", H5T_STD_U64LE, 1, false, block.key.data()},
      {"weights", fp32 ? H5T_IEEE_F32LE : H5T_STD_U8LE,
       fp32 ? dim : WeightBytes(block.layout.element, dim), true, block.weights.data()},
      {"state", H5T_IEEE_F32LE, block.layout.state, true, block.state.data()},
      {"last_step", H5T_STD_U32LE, 1, false, block.last_step.data()},
      {"updates", H5T_STD_U32LE, 1, false, block.updates.data()},
  };
  if (block.layout.popularity_bytes > 0) {
    columns.push_back({"popularity", H5T_IEEE_F32LE, 1, false, block.popularity.data()});
  }
  if (block.layout.extra > 0) {
    columns.push_back({"extra", H5T_STD_U32LE, block.layout.extra, true, block.extra.data()});
  }
  return columns;
}

Result<std::unique_ptr<ShardFile>> ShardFile::Open(const std::string& path) {
  const Hdf5Quiet quiet;
  Hdf5Handle opened(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (!opened.ok()) return Hdf5Error(path + ": its structure cannot be read");
  auto file = std::make_unique<ShardFile>(path, std::move(opened));
  EMPORIUM_RETURN_IF_ERROR(file->ReadFacts());
  return file;
}

Status ShardFile::ReadFacts() {
  const Hdf5Handle root(H5Gopen2(file_.id(), "/", H5P_DEFAULT), H5Gclose);
  if (!root.ok()) return Hdf5Error(path_ + ": no root group");
  auto read = [&](const char* name, hid_t type, void* value) {
    return ReadAttribute(root.id(), path_, name, type, value);
  };
  uint32_t stage = 0;
  uint64_t version = 0;
  EMPORIUM_RETURN_IF_ERROR(read("format", H5T_NATIVE_UINT32, &facts_.format));
  if (facts_.format != kShardFileFormat && facts_.format != kChangesFileFormat) {
    return InvalidArgument(path_ + ": format " + std::to_string(facts_.format) +
                           ", this build reads " + std::to_string(kShardFileFormat) + " and " +
                           std::to_string(kChangesFileFormat));
  }
  if (facts_.format == kChangesFileFormat) {
    EMPORIUM_RETURN_IF_ERROR(read("parent", H5T_NATIVE_UINT64, &facts_.parent));
    if (facts_.parent == 0) return DataLoss(path_ + ": changes since no checkpoint");
  }
  EMPORIUM_RETURN_IF_ERROR(
      ReadAttribute(root.id(), path_, "job_fingerprint", &facts_.job_fingerprint));
  EMPORIUM_RETURN_IF_ERROR(read("shard", H5T_NATIVE_UINT32, &facts_.shard));
  EMPORIUM_RETURN_IF_ERROR(read("partitions", H5T_NATIVE_UINT32, &facts_.partitions));
  EMPORIUM_RETURN_IF_ERROR(read("stage", H5T_NATIVE_UINT32, &stage));
  EMPORIUM_RETURN_IF_ERROR(read("version", H5T_NATIVE_UINT64, &version));
  EMPORIUM_RETURN_IF_ERROR(read("global_step", H5T_NATIVE_UINT32, &facts_.position.global_step));
  facts_.position.stage = StageId(stage);
  facts_.position.version = Step(version);
  constexpr uint32_t kNoMoreSteps = std::numeric_limits<uint32_t>::max();
  if (version > facts_.position.global_step || facts_.position.global_step == kNoMoreSteps) {
    return DataLoss(path_ + ": version " + std::to_string(version) + " after " +
                    std::to_string(facts_.position.global_step) + " steps");
  }
  std::vector<uint16_t> partition;
  EMPORIUM_RETURN_IF_ERROR(ReadWhole(root.id(), path_, "partition", H5T_NATIVE_UINT16,
                                     limits::kMaxPartitions, &partition));
  for (uint16_t p : partition) {
    const bool ascending = partition_.empty() || p > partition_.back().value();
    if (!ascending || p >= facts_.partitions) return DataLoss(path_ + ": partition list");
    partition_.push_back(PartitionId(p));
  }
  const Hdf5Handle tables(H5Gopen2(file_.id(), "tables", H5P_DEFAULT), H5Gclose);
  H5G_info_t info{};
  if (!tables.ok() || H5Gget_info(tables.id(), &info) < 0 || info.nlinks > limits::kMaxTables) {
    return Hdf5Error(path_ + ": no tables");
  }
  for (size_t i = 0; i < info.nlinks; ++i) {
    EMPORIUM_ASSIGN_OR_RETURN(TableFacts table, ReadTable(i));
    tables_.push_back(std::move(table));
  }
  return Status::Ok();
}

Result<ShardFile::TableFacts> ShardFile::ReadTable(size_t table) const {
  const std::string name = "tables/" + std::to_string(table);
  const std::string where = path_ + ": " + name;
  const Hdf5Handle group(H5Gopen2(file_.id(), name.c_str(), H5P_DEFAULT), H5Gclose);
  if (!group.ok()) return Hdf5Error(where + ": not there");
  auto read = [&](const char* attribute, hid_t type, void* value) {
    return ReadAttribute(group.id(), where, attribute, type, value);
  };
  TableFacts facts;
  uint8_t popularity = 0;
  uint8_t element = 0;
  EMPORIUM_RETURN_IF_ERROR(ReadAttribute(group.id(), where, "name", &facts.name));
  EMPORIUM_RETURN_IF_ERROR(read("dim", H5T_NATIVE_UINT32, &facts.layout.dim));
  EMPORIUM_RETURN_IF_ERROR(read("element", H5T_NATIVE_UINT8, &element));
  EMPORIUM_RETURN_IF_ERROR(read("state", H5T_NATIVE_UINT32, &facts.layout.state));
  EMPORIUM_RETURN_IF_ERROR(read("popularity", H5T_NATIVE_UINT8, &popularity));
  EMPORIUM_RETURN_IF_ERROR(read("total_value", H5T_NATIVE_DOUBLE, &facts.total.value));
  EMPORIUM_RETURN_IF_ERROR(read("total_step", H5T_NATIVE_UINT32, &facts.total.step));
  EMPORIUM_RETURN_IF_ERROR(read("total_time", H5T_NATIVE_UINT32, &facts.total.time));
  EMPORIUM_RETURN_IF_ERROR(read("extra", H5T_NATIVE_UINT32, &facts.layout.extra));
  EMPORIUM_RETURN_IF_ERROR(read("sketch_width", H5T_NATIVE_UINT32, &facts.sketch_width));
  if (!spec::ElementType_IsValid(element)) {
    return DataLoss(where + ": element type " + std::to_string(element) + " is unknown");
  }
  if (facts.layout.dim == 0 || facts.layout.dim > limits::kMaxDim ||
      facts.layout.state > kMaxState || facts.layout.extra > kMaxExtra) {
    return DataLoss(where + ": rows of " + std::to_string(facts.layout.dim) + " weights, " +
                    std::to_string(facts.layout.state) + " state floats, " +
                    std::to_string(facts.layout.extra) + " words of slots");
  }
  if (!std::isfinite(facts.total.value) || facts.total.value < 0) {
    return DataLoss(where + ": a total popularity of " + std::to_string(facts.total.value));
  }
  facts.layout.element = static_cast<spec::ElementType>(element);
  facts.layout.popularity_bytes = popularity != 0 ? 4 : 0;
  EMPORIUM_RETURN_IF_ERROR(ReadWhole(group.id(), where, "offset", H5T_NATIVE_UINT64,
                                     limits::kMaxPartitions + 1, &facts.offset));
  if (facts.offset.size() != partition_.size() + 1 || facts.offset.front() != 0 ||
      !std::is_sorted(facts.offset.begin(), facts.offset.end())) {
    return DataLoss(where + ": offsets do not fit the partitions");
  }
  facts.rows = facts.offset.back();
  if (facts_.parent != 0) EMPORIUM_RETURN_IF_ERROR(ReadGone(group.id(), where, &facts));
  if (H5Lexists(group.id(), "slot_totals", H5P_DEFAULT) > 0) {
    EMPORIUM_RETURN_IF_ERROR(ReadWhole(group.id(), where, "slot_totals", H5T_NATIVE_DOUBLE,
                                       limits::kMaxSlots, &facts.total.slots));
  }
  if (facts.sketch_width > 0) {
    const uint64_t cells = partition_.size() * uint64_t{kSketchRows} * facts.sketch_width;
    EMPORIUM_RETURN_IF_ERROR(
        ReadWhole(group.id(), where, "sketch", H5T_NATIVE_UINT8, cells, &facts.sketch));
    EMPORIUM_RETURN_IF_ERROR(ReadWhole(group.id(), where, "sketch_held", H5T_NATIVE_UINT32,
                                       partition_.size(), &facts.sketch_held));
    if (facts.sketch.size() != cells || facts.sketch_held.size() != partition_.size()) {
      return DataLoss(where + ": sketches do not fit the partitions");
    }
  }
  RowBlock block;
  block.layout = facts.layout;
  for (const Column& column : ColumnsOf(block)) {
    const Hdf5Handle dataset(H5Dopen2(group.id(), column.name, H5P_DEFAULT), H5Dclose);
    if (!dataset.ok()) return Hdf5Error(where + ": no dataset " + column.name);
    const auto [rows, width] = ExtentOf(dataset.id(), column.vector);
    if (rows != facts.rows || width != column.width || !Holds(dataset.id(), rows, width)) {
      return DataLoss(where + "/" + column.name + ": not the size that the offsets say");
    }
  }
  return facts;
}

Status ShardFile::ReadGone(hid_t group, const std::string& where, TableFacts* facts) const {
  EMPORIUM_RETURN_IF_ERROR(
      ReadWhole(group, where, "gone", H5T_NATIVE_UINT64, kMaxGone, &facts->gone));
  EMPORIUM_RETURN_IF_ERROR(ReadWhole(group, where, "gone_offset", H5T_NATIVE_UINT64,
                                     limits::kMaxPartitions + 1, &facts->gone_offset));
  const std::vector<uint64_t>& offset = facts->gone_offset;
  if (offset.size() != partition_.size() + 1 || offset.front() != 0 ||
      offset.back() != facts->gone.size() || !std::is_sorted(offset.begin(), offset.end())) {
    return DataLoss(where + ": keys that went do not fit the partitions");
  }
  return Status::Ok();
}

Status ShardFile::Read(size_t table, uint64_t first, uint64_t count, RowBlock* block) const {
  const Hdf5Quiet quiet;
  block->layout = tables_[table].layout;
  block->Resize(count);
  for (const Column& column : ColumnsOf(*block)) {
    if (count * column.width == 0) continue;
    const std::string name = "tables/" + std::to_string(table) + "/" + column.name;
    const hsize_t start[2] = {first, 0};
    const hsize_t extent[2] = {count, column.width};
    const Hdf5Handle dataset(H5Dopen2(file_.id(), name.c_str(), H5P_DEFAULT), H5Dclose);
    const Hdf5Handle memory(H5Screate_simple(column.vector ? 2 : 1, extent, nullptr), H5Sclose);
    const Hdf5Handle space(H5Dget_space(dataset.id()), H5Sclose);
    if (!dataset.ok() ||
        H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start, nullptr, extent, nullptr) < 0 ||
        H5Dread(dataset.id(), column.memory_type, memory.id(), space.id(), H5P_DEFAULT,
                column.data) < 0) {
      return Hdf5Error(path_ + ": table " + tables_[table].name + ", " + column.name + ", rows [" +
                       std::to_string(first) + ", " + std::to_string(first + count) +
                       ") cannot be read");
    }
  }
  return Status::Ok();
}

std::string ShardFile::BytesOf(size_t table, uint64_t row) const {
  const Hdf5Quiet quiet;
  RowBlock block;
  block.layout = tables_[table].layout;
  block.Resize(1);
  for (const Column& column : ColumnsOf(block)) {
    if (column.width == 0) continue;
    const std::string name = "tables/" + std::to_string(table) + "/" + column.name;
    const Hdf5Handle dataset(H5Dopen2(file_.id(), name.c_str(), H5P_DEFAULT), H5Dclose);
    const hsize_t start[2] = {row, 0};
    const hsize_t extent[2] = {1, column.width};
    const Hdf5Handle memory(H5Screate_simple(column.vector ? 2 : 1, extent, nullptr), H5Sclose);
    const Hdf5Handle space(H5Dget_space(dataset.id()), H5Sclose);
    if (H5Sselect_hyperslab(space.id(), H5S_SELECT_SET, start, nullptr, extent, nullptr) < 0) {
      return "";
    }
    if (H5Dread(dataset.id(), column.memory_type, memory.id(), space.id(), H5P_DEFAULT,
                column.data) >= 0) {
      continue;
    }
    unsigned filters = 0;
    haddr_t address = 0;
    hsize_t size = 0;
    if (H5Dget_chunk_info_by_coord(dataset.id(), start, &filters, &address, &size) < 0) return "";
    return "bytes [" + std::to_string(address) + ", " + std::to_string(address + size) + ")";
  }
  return "";
}

}  // namespace emporium::ps
