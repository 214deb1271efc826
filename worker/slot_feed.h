// What the samples of a micro-batch say of the slots of its keys (job.proto, Slot): one number for
// each key and slot, made of the samples in which the key occurs, in their order; so it is a
// function of the micro-batch alone.
//
// A SlotColumns is immutable, any thread; a SlotFeed belongs to one micro-batch.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "models/batch.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/dataset.h"

namespace emporium::worker {

class SlotColumns {
 public:
  // `dataset` outlives it.
  static Result<SlotColumns> Create(const Dataset& dataset, const spec::Job& job);

  struct Slot {
    spec::Slot::Update update = spec::Slot::ADD;
    std::span<const int64_t> ints;  // by event; neither: every occurrence counts 1
    std::span<const float> floats;
    double at(int64_t row) const {
      if (!ints.empty()) return static_cast<double>(ints[static_cast<size_t>(row)]);
      return floats.empty() ? 1 : double{floats[static_cast<size_t>(row)]};
    }
  };
  std::span<const Slot> of(TableId table) const { return slots_[table.value()]; }

 private:
  std::vector<std::vector<Slot>> slots_;  // by table
};

class SlotFeed {
 public:
  explicit SlotFeed(const SlotColumns& columns) : columns_(columns) {}

  // The keys of list i occur in the sample of event rows[i].
  void Observe(const models::RowLists& lists, std::span<const int64_t> rows);
  // Adds the outcome to tables that have slots; keys that were not observed have NaN.
  void Finish(std::vector<TableKeys>* tables);

 private:
  struct Seen {
    double value = 0;
    uint32_t times = 0;
  };
  void Add(const SlotColumns::Slot& slot, double x, Seen* seen) const;

  const SlotColumns& columns_;
  std::map<uint16_t, std::vector<Seen>> seen_;  // by table: [keys, slots], as far as observed
};

}  // namespace emporium::worker
