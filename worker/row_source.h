// Rows at the shards' present version, for scoring: evaluation, export, query. Training has its own
// way (worker/trainer.h), which names the version.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/model.h"
#include "proto/bytes.h"
#include "proto/ids.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/dense.h"
#include "worker/key_split.h"
#include "worker/ps_client.h"

namespace emporium::worker {

// A RowSet with the memory that it points to.
struct RowBuffer {
  models::RowSet rows;  // in the order of the TableKeys that were asked for
  // By entry of rows; rows of whole cache lines start on one.
  std::vector<UnclearedVector<float>> values;
  std::vector<UnclearedVector<float>> popularity;
  std::vector<UnclearedVector<float>> gradients;
  std::vector<std::vector<float>> slots;         // where they were asked for, and ...
  std::vector<std::vector<double>> slot_totals;  // ... of their counters the tables' totals
};

// Sizes `out` for the rows of `tables` (memory that it has is used again) and points its RowSet to
// them. `dims` by TableId.
void PrepareRows(const std::vector<TableKeys>& tables, std::span<const uint32_t> dims,
                 bool with_gradients, RowBuffer* out);
// Where the rows of `out` are to be received.
std::vector<RowTarget> TargetsOf(RowBuffer* out);

// Writes the slots of `rows` into the columns of the batch that wait for them.
void FillSlots(const RowBuffer& rows, const SlotInputs& inputs, models::Batch* batch);

// May be called from one thread at a time.
class RowSource {
 public:
  virtual ~RowSource() = default;
  // `out` has values (and popularity where it was wanted), no gradients.
  virtual Status Fetch(const std::vector<TableKeys>& tables, RowBuffer* out) = 0;
  // All dense parameters in the order of Model::parameters().
  virtual Status FetchDense(std::span<float> out) = 0;
};

// The rows that the shards hold now. All arguments outlive the source; `dims` by TableId.
std::unique_ptr<RowSource> MakeRowSource(PsClient& client, std::vector<uint32_t> dims,
                                         const DenseLayout& dense, StageId stage,
                                         Generation generation);

}  // namespace emporium::worker
