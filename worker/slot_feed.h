// What the events of a micro-batch say of the slots of its keys (job.proto, Slot): one number for
// each key and slot that the events feed, made of the samples in which the key occurs, in their
// order; so it is a function of the micro-batch alone. Slots that the model feeds get room here and
// are filled in by its lane (models/model.h, TableRows).
//
// Invariant: an event feeds a key once, however many features or words of it name the key.
// A SlotColumns is immutable, any thread; a SlotFeed belongs to one micro-batch.
#pragma once

#include <algorithm>
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

// Slots of the table that are counters: they have totals.
uint32_t CountersOf(const spec::Table& table);

class SlotColumns {
 public:
  // `dataset` outlives it.
  static Result<SlotColumns> Create(const Dataset& dataset, const spec::Job& job);

  // Which events feed a slot.
  struct When {
    bool always = true;
    std::span<const int32_t> codes;  // by event; or ...
    std::vector<bool> wanted;        // by code
    std::span<const int64_t> ints;   // ... by event
    std::vector<int64_t> values;     // ascending
    bool Holds(int64_t row) const {
      if (always) return true;
      const auto r = static_cast<size_t>(row);
      if (codes.empty()) return std::binary_search(values.begin(), values.end(), ints[r]);
      return codes[r] >= 0 && wanted[static_cast<size_t>(codes[r])];
    }
  };
  struct Slot {
    spec::Slot::Update update = spec::Slot::ADD;
    When when;
    bool by_model = false;          // no event feeds it
    std::span<const int64_t> ints;  // by event; nothing: every event counts 1
    std::span<const float> floats;
    std::span<const double> times;  // seconds
    double at(int64_t row) const {
      const auto r = static_cast<size_t>(row);
      if (!ints.empty()) return static_cast<double>(ints[r]);
      if (!times.empty()) return PushedTime(times[r]);
      return floats.empty() ? 1 : double{floats[r]};
    }
  };
  std::span<const Slot> of(TableId table) const { return slots_[table.value()]; }
  size_t tables() const { return slots_.size(); }

 private:
  std::vector<std::vector<Slot>> slots_;  // by table
};

class SlotFeed {
 public:
  explicit SlotFeed(const SlotColumns& columns) : columns_(columns) {}

  // The keys of list i of each of `lists` are what the event rows[i] is about. To be called once.
  void Observe(std::span<const models::RowLists* const> lists, std::span<const int64_t> rows);
  // Adds the outcome to tables that have slots.
  void Finish(std::vector<TableKeys>* tables);

 private:
  struct Seen {
    double value = 0;
    uint32_t times = 0;
  };
  // What is known of a table's keys, as far as they occurred.
  struct Table {
    std::vector<Seen> seen;     // [keys, slots]
    std::vector<size_t> event;  // [keys]: number of the newest that fed it, from 1
  };
  void ObserveTable(TableId table, std::span<const models::RowLists* const> lists,
                    std::span<const int64_t> rows);
  static void Add(spec::Slot::Update update, double x, Seen* seen);

  const SlotColumns& columns_;
  std::map<uint16_t, Table> tables_;
};

}  // namespace emporium::worker
