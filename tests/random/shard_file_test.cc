// A shard's file that says other things than were written, with sound checksums: attributes and
// datasets of other values, types and sizes, or missing, and a manifest that has the file's digest.
// Opening, verifying and restoring it succeed or name a fault, and a shard that was restored
// serves.
#include "ps/shard_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "ps/hdf5.h"
#include "runtime/file.h"
#include "tests/ps/shard_fixture.h"
#include "tests/random/damage.h"

namespace emporium::ps {
namespace {

using emporium::testing::Damage;
using ps::testing::Cluster;
using ps::testing::ScratchDir;
using ps::testing::Train;
using ps::testing::TwoTables;
using ::testing::AnyOf;
using ::testing::Eq;
namespace fs = std::filesystem;

constexpr const char* kJob = "0123abcd";

std::vector<TableSettings> Tables() {
  std::vector<TableSettings> tables = TwoTables();
  tables[0].slots = {{spec::Slot::ADD, 7, 0, 0}, {spec::Slot::LOG_EMA, 0, 0.1f, -1}};
  tables[0].admission_sightings = 2;
  tables[0].sketch_bytes = 4096;
  tables[1].element_type = spec::INT8;
  return tables;
}

// A place in the file: the attribute or the dataset `name` of a group.
struct Place {
  const char* group;
  const char* name;
  bool attribute;
};
const Place kPlaces[] = {
    {"/", "format", true},
    {"/", "job_fingerprint", true},
    {"/", "shard", true},
    {"/", "partitions", true},
    {"/", "stage", true},
    {"/", "version", true},
    {"/", "global_step", true},
    {"/", "partition", false},
    {"tables/0", "name", true},
    {"tables/0", "dim", true},
    {"tables/0", "element", true},
    {"tables/0", "state", true},
    {"tables/0", "popularity", true},
    {"tables/0", "total_value", true},
    {"tables/0", "total_step", true},
    {"tables/0", "total_time", true},
    {"tables/0", "extra", true},
    {"tables/0", "sketch_width", true},
    {"tables/0", "offset", false},
    {"tables/0", "key", false},
    {"tables/0", "weights", false},
    {"tables/0", "state", false},
    {"tables/0", "last_step", false},
    {"tables/0", "updates", false},
    {"tables/0", "popularity", false},
    {"tables/0", "extra", false},
    {"tables/0", "sketch", false},
    {"tables/0", "sketch_held", false},
    {"tables/1", "dim", true},
    {"tables/1", "element", true},
    {"tables/1", "weights", false},
    {"tables/1", "offset", false},
    {"/", "tables", false},
};

// Edits one place of a file that is there.
class Editor {
 public:
  Editor(const std::string& path, Damage* damage)
      : damage_(damage), file_(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose) {
    EXPECT_TRUE(file_.ok());
  }

  void Edit(const Place& place) {
    const Hdf5Handle group(H5Gopen2(file_.id(), place.group, H5P_DEFAULT), H5Gclose);
    if (place.attribute) {
      EditAttribute(group.id(), place.name);
    } else {
      EditDataset(group.id(), place.name);
    }
  }

 private:
  // A number in its place, or another type or number of elements.
  void EditAttribute(hid_t group, const char* name) {
    const uint64_t kind = damage_->Below(6);
    if (kind < 3) {
      const Hdf5Handle attribute(H5Aopen(group, name, H5P_DEFAULT), H5Aclose);
      const Hdf5Handle type(H5Aget_type(attribute.id()), H5Tclose);
      std::vector<char> value(std::max<size_t>(H5Tget_size(type.id()), sizeof(uint64_t)));
      const uint64_t number = damage_->Number();
      std::memcpy(value.data(), &number, sizeof(number));
      EXPECT_GE(H5Awrite(attribute.id(), type.id(), value.data()), 0);
      return;
    }
    EXPECT_GE(H5Adelete(group, name), 0);
    if (kind == 3) return;
    const Hdf5Handle type(OtherType());
    const hsize_t extent[1] = {kind == 4 ? 1 : 1 + damage_->Below(200)};
    const Hdf5Handle space(H5Screate_simple(1, extent, nullptr), H5Sclose);
    const Hdf5Handle attribute(
        H5Acreate2(group, name, type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    const std::vector<uint64_t> value(extent[0] * 4, damage_->Number());
    if (H5Tis_variable_str(type.id()) > 0) return;  // pointers that are null
    EXPECT_GE(H5Awrite(attribute.id(), type.id(), value.data()), 0);
  }

  // Numbers in the place of some elements, or another shape or type, of which nothing is stored.
  void EditDataset(hid_t group, const char* name) {
    const uint64_t kind = damage_->Below(5);
    const bool is_group = std::string(name) == "tables";
    if (kind < 3 && !is_group) {
      const Hdf5Handle dataset(H5Dopen2(group, name, H5P_DEFAULT), H5Dclose);
      const Hdf5Handle space(H5Dget_space(dataset.id()), H5Sclose);
      const Hdf5Handle type(H5Dget_type(dataset.id()), H5Tclose);
      const auto elements = static_cast<size_t>(H5Sget_simple_extent_npoints(space.id()));
      const size_t width = H5Tget_size(type.id());
      std::vector<char> values(elements * width + sizeof(uint64_t));
      EXPECT_GE(H5Dread(dataset.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
      for (uint64_t edits = 1 + damage_->Below(3); edits > 0 && elements > 0; --edits) {
        const uint64_t number = damage_->Number();
        std::memcpy(values.data() + damage_->Below(elements) * width, &number, width);
      }
      EXPECT_GE(H5Dwrite(dataset.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
      return;
    }
    EXPECT_GE(H5Ldelete(group, name, H5P_DEFAULT), 0);
    if (kind == 3) return;
    const int rank = 1 + static_cast<int>(damage_->Below(3));
    const hsize_t extents[] = {0, 1, 17, 19, 20, 1000, hsize_t{1} << 32, hsize_t{1} << 44};
    hsize_t extent[3];
    hsize_t chunk[3];
    for (int d = 0; d < rank; ++d) {
      extent[d] = extents[damage_->Below(std::size(extents))];
      chunk[d] = 1 + damage_->Below(4);
    }
    const Hdf5Handle space(H5Screate_simple(rank, extent, nullptr), H5Sclose);
    const Hdf5Handle settings(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    for (int d = 0; d < rank; ++d) chunk[d] = std::min(chunk[d], std::max<hsize_t>(extent[d], 1));
    const hsize_t most[3] = {H5S_UNLIMITED, H5S_UNLIMITED, H5S_UNLIMITED};
    H5Sset_extent_simple(space.id(), rank, extent, most);
    EXPECT_GE(H5Pset_chunk(settings.id(), rank, chunk), 0);
    const Hdf5Handle type(OtherType());
    const Hdf5Handle dataset(
        H5Dcreate2(group, name, type.id(), space.id(), H5P_DEFAULT, settings.id(), H5P_DEFAULT),
        H5Dclose);
    EXPECT_TRUE(dataset.ok());
  }

  Hdf5Handle OtherType() {
    const hid_t numbers[] = {H5T_STD_U8LE, H5T_STD_I32LE, H5T_STD_U64LE, H5T_IEEE_F32LE,
                             H5T_IEEE_F64LE};
    if (!damage_->OneIn(3)) {
      return Hdf5Handle(H5Tcopy(numbers[damage_->Below(std::size(numbers))]), H5Tclose);
    }
    Hdf5Handle text(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(text.id(), damage_->OneIn(3) ? H5T_VARIABLE : 1 + damage_->Below(16));
    return text;
  }

  Damage* const damage_;
  const Hdf5Handle file_;
};

class DamagedShardFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ScratchDir("damaged");
    fs::create_directories(dir_);
    Cluster source(1, Tables());
    Train(source, 0, 0, 6, 2);
    ASSERT_TRUE(source.Checkpoint(dir_, kJob).ok());
    manifest_ = runtime::ReadManifest(dir_).value();
    path_ = dir_ + "/" + manifest_.file(0).path();
    fs::rename(path_, dir_ + "/whole");
  }
  void TearDown() override { fs::remove_all(dir_); }

  // The manifest says what the file is now.
  void Seal() {
    manifest_.mutable_file(0)->set_bytes(fs::file_size(path_));
    manifest_.mutable_file(0)->set_xxh3(runtime::Xxh3OfFile(path_).value());
    ASSERT_TRUE(runtime::WriteManifest(dir_, manifest_).ok());
  }

  // What was refused is one of these; the messages name the file or the directory.
  void ExpectFault(const Status& status) {
    if (status.ok()) return;
    EXPECT_THAT(status.code(), AnyOf(Eq(StatusCode::kDataLoss), Eq(StatusCode::kInvalidArgument)));
    EXPECT_THAT(status.message(), ::testing::HasSubstr(dir_));
  }

  std::string dir_;
  std::string path_;
  spec::CheckpointManifest manifest_;
};

TEST_F(DamagedShardFiles, AreRestoredOrRefusedWithTheirName) {
  const Hdf5Quiet quiet;
  Damage damage(11);
  int restored = 0, refused = 0;
  for (int round = 0; round < 660; ++round) {
    const Place& place = kPlaces[static_cast<size_t>(round) % std::size(kPlaces)];
    SCOPED_TRACE(std::to_string(round) + ": " + place.group + " " + place.name);
    fs::copy_file(dir_ + "/whole", path_, fs::copy_options::overwrite_existing);
    Editor(path_, &damage).Edit(place);
    Seal();
    std::string report;
    ExpectFault(VerifyCheckpoint(dir_, &report));
    Cluster target(1, Tables());
    const Status status = RestoreShard(dir_, manifest_, kJob, &target.shard(0));
    ExpectFault(status);
    ++(status.ok() ? restored : refused);
    if (status.ok() && target.shard(0).position().stage == StageId(0)) {
      const uint64_t version = target.shard(0).position().version.value();
      Train(target, 0, version, version + 2, 2);
    }
    if (HasFailure()) FAIL();
  }
  EXPECT_GT(restored, 60);
  EXPECT_GT(refused, 200);
}

// The library looks at damaged structure here; its checksums see most of it.
TEST_F(DamagedShardFiles, BytesOfAnyKindAreRestoredOrRefused) {
  Damage damage(12);
  const std::string whole = runtime::ReadFile(dir_ + "/whole").value();
  for (int round = 0; round < 400; ++round) {
    std::string bytes = whole;
    damage.Edit(&bytes);
    ASSERT_TRUE(runtime::WriteFileDurably(path_, bytes).ok());
    Seal();
    std::string report;
    ExpectFault(VerifyCheckpoint(dir_, &report));
    Cluster target(1, Tables());
    ExpectFault(RestoreShard(dir_, manifest_, kJob, &target.shard(0)));
    if (HasFailure()) FAIL() << "round " << round;
  }
}

}  // namespace
}  // namespace emporium::ps
