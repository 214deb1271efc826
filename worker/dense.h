// The model's dense parameters as rows: each tensor is cut into chunks, and a chunk is a row of the
// table of its dense group, under a key that is a function of (parameter name, chunk number). So
// dense parameters are pulled, pushed and saved like any other row.
//
// A DenseLayout is immutable. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/model.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"

namespace emporium::worker {

class DenseLayout {
 public:
  // InvalidArgument when a parameter belongs to no group.
  static Result<DenseLayout> Make(const spec::Job& job,
                                  const std::vector<models::DenseParameter>& parameters);

  // Floats of all parameters, one after another in the order of the model.
  size_t floats() const { return floats_; }
  // The keys of every group that holds a parameter, ascending by table.
  const std::vector<TableKeys>& tables() const { return tables_; }
  // Floats of a row of tables()[i].
  uint32_t chunk_floats(size_t i) const { return chunk_floats_[i]; }

  // Rows of tables()[i], [keys, chunk_floats] -> their places in `flat`.
  void RowsToFlat(size_t i, std::span<const float> rows, std::span<float> flat) const;
  // The other way; what is beyond the end of a tensor is zero.
  void FlatToRows(size_t i, std::span<const float> flat, std::span<float> rows) const;

 private:
  struct Chunk {
    size_t offset = 0;  // in the flat parameters
    uint32_t floats = 0;
  };
  size_t floats_ = 0;
  std::vector<TableKeys> tables_;
  std::vector<uint32_t> chunk_floats_;
  std::vector<std::vector<Chunk>> chunks_;  // by table, one per key
};

// Pinned: it decides where dense parameters lie in every checkpoint.
uint64_t DenseKey(std::string_view parameter, uint64_t chunk);

}  // namespace emporium::worker
