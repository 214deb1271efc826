// What the pulls of the present version asked for, by micro-batch, until the gradients of the same
// micro-batch come: so their push need not carry the keys again, and no row is looked up twice.
//
// Belongs to the shard's thread. It is an aid: a pull that is not remembered (another version, the
// bound reached, rows erased since) costs the push its keys, nothing else. Invariants:
//  1. The slots are those that the table had for the keys when the pull was answered. Rows may be
//     made after that; who erases or moves rows calls Forget.
//  2. Never more than `max_bytes`.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "proto/bytes.h"
#include "proto/frame.h"
#include "proto/ids.h"
#include "ps/frame_bytes.h"
#include "ps/slab.h"

namespace emporium::ps {

class PullMemory {
 public:
  struct Section {
    TableId table;
    std::span<const uint64_t> keys;  // in the pull's bytes
    UnclearedVector<Slot> slots;     // kNoSlot: no row yet
  };
  struct Pull {
    FrameBytes bytes;
    std::vector<Section> sections;
    // nullptr when the pull did not name the table.
    const Section* Find(TableId table) const;
  };

  explicit PullMemory(uint64_t max_bytes) : max_bytes_(max_bytes) {}

  // Instead of an earlier pull of the same micro-batch.
  void Remember(MicroBatch m, Pull pull);
  // The pull, which is forgotten.
  std::optional<Pull> Take(MicroBatch m);
  void Forget();

 private:
  const uint64_t max_bytes_;
  uint64_t bytes_ = 0;
  std::map<MicroBatch, Pull> pulls_;
};

}  // namespace emporium::ps
