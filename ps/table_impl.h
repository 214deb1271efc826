// What the files of Table share: its parts. Included by ps/table*.cc alone.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "proto/element.h"
#include "ps/index.h"
#include "ps/initializer.h"
#include "ps/optimizer.h"
#include "ps/popularity.h"
#include "ps/popularity_code.h"
#include "ps/slab.h"
#include "ps/table.h"

namespace emporium::ps {

class Table::Impl {
 public:
  Impl(const TableSettings& table_settings, uint32_t partition_count,
       const std::vector<PartitionId>& owned);

  const RowLayout& layout() const { return slabs.shape().layout(); }
  const RowShape& shape() const { return slabs.shape(); }
  bool fp32() const { return settings.element_type == spec::FP32; }

  // A place for the row of a key that has none; nothing of it is set.
  Slot Occupy(uint64_t key);
  // Gives a row initial values; `weights` is room for them.
  void MakeInitial(uint64_t key, const RowRef& row, std::span<float> weights) const;
  // Everything but the weights of a row that has had no update.
  void InitTail(std::span<const float> weights, std::byte* tail) const;
  // Initial values in the table's element type; `weights` is room for them as floats.
  void FillRaw(uint64_t key, std::span<float> weights, std::byte* raw) const;

  float PopularityAt(const std::byte* tail, uint32_t step) const {
    if (layout().popularity_bytes == 0) return 0;
    const float then = code.Decode(shape().Popularity(tail));
    return static_cast<float>(then * decay.Factor(shape().LastStep(tail), step));
  }

  const TableSettings settings;
  const uint32_t partitions;
  const std::unique_ptr<Optimizer> optimizer;
  const Initializer initializer;
  const Decay decay;
  const PopularityCode code;
  Index index;
  Slabs slabs;
  Total total;
  std::vector<float> scratch;  // of Apply
};

}  // namespace emporium::ps
