// The slow twin of ps::Table: a std::unordered_map of rows, one optimizer call a row. What the fast
// table does is compared with it bit for bit. Slots are numbers that it gives in order. It admits
// every key.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "ps/initializer.h"
#include "ps/optimizer.h"
#include "ps/popularity.h"
#include "ps/popularity_code.h"
#include "ps/row_slots.h"
#include "ps/table.h"

namespace emporium::ps {

class PlainTable {
 public:
  using UpdateBatch = Table::UpdateBatch;

  PlainTable(const TableSettings& settings, uint32_t partitions,
             const std::vector<PartitionId>& owned);

  uint64_t rows() const { return rows_.size(); }
  bool Owns(uint64_t key) const;
  void Find(std::span<const uint64_t> keys, std::span<Slot> slots) const;
  void FindOrCreate(std::span<const uint64_t> keys, std::span<Slot> slots);
  void Read(std::span<const uint64_t> keys, std::span<const Slot> slots, uint32_t step,
            std::span<float> weights, std::span<float> popularity) const;
  void ReadRaw(std::span<const uint64_t> keys, std::span<const Slot> slots, uint32_t step,
               std::span<std::byte> rows, std::span<float> popularity) const;
  void Apply(const UpdateBatch& batch);
  void ReadSlots(std::span<const Slot> slots, uint32_t step, std::span<float> values) const;
  void Observe(std::span<const uint64_t> keys, std::span<const Slot> slots,
               std::span<const Observation> observed);
  void SetTime(uint32_t step, uint32_t time);
  void Assign(uint64_t key, std::span<const float> weights);
  Status Restore(const RowView& row);
  uint64_t Erase(std::span<const uint64_t> keys);
  void CompactPartition(PartitionId /*partition*/) {}
  uint64_t Expire(uint32_t step);
  void ForEachRow(PartitionId partition, const std::function<void(const RowView&)>& visit) const;
  void Clear();

 private:
  struct Row {
    Slot slot = kNoSlot;
    std::vector<std::byte> raw;
    std::vector<float> state;
    std::vector<std::byte> popularity;
    std::vector<std::byte> extra;
    uint32_t last_step = 0;
    uint32_t updates = 0;
  };
  std::vector<std::byte> Initial(uint64_t key) const;
  std::vector<float> Floats(const Row& row) const;
  uint32_t TickOf(const Row& row) const;
  uint32_t TickAt(uint32_t step) const;
  // What is left of what the row counted.
  double FactorAt(const Row& row, uint32_t step) const;
  float PopularityAt(const Row& row, uint32_t step) const;
  void CountPopularity(uint64_t key, float added, uint32_t step, Row* row) const;
  Row& Make(uint64_t key, std::vector<std::byte> raw);

  const TableSettings settings_;
  const uint32_t partitions_;
  std::vector<bool> owned_;
  const std::unique_ptr<Optimizer> optimizer_;
  const Initializer initializer_;
  const Decay decay_;
  const PopularityCode code_;
  const RowSlots slots_;
  uint32_t clock_step_ = 0, now_ = 0, before_ = 0;  // newest event up to this step, and before it
  std::unordered_map<uint64_t, Row> rows_;
  std::unordered_map<Slot, uint64_t> key_of_;
  Slot next_ = 0;
};

}  // namespace emporium::ps
