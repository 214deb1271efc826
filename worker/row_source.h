// Rows at the shards' present version, for scoring: evaluation, export, query. Training has its own
// way (worker/trainer.h), which names the version.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "models/model.h"
#include "proto/status.h"
#include "worker/batch_source.h"

namespace emporium::worker {

// A RowSet with the memory that it points to.
struct RowBuffer {
  models::RowSet rows;                      // in the order of the TableKeys that were asked for
  std::vector<std::vector<float>> values;   // by entry of rows
  std::vector<std::vector<float>> popularity;
  std::vector<std::vector<float>> gradients;
};

// May be called from one thread at a time.
class RowSource {
 public:
  virtual ~RowSource() = default;
  // `out` has values (and popularity where it was wanted), no gradients.
  virtual Status Fetch(const std::vector<TableKeys>& tables, RowBuffer* out) = 0;
  // All dense parameters in the order of Model::parameters().
  virtual Status FetchDense(std::span<float> out) = 0;
};

}  // namespace emporium::worker
