// The way of a cut's pieces from the shard's thread, which copies them between frames, to the
// thread that writes them. A few pieces at a time: the disk sets the pace.
//
// Any thread where nothing else is said. Once closed, no piece comes any more.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "ps/cut.h"
#include "runtime/queue.h"
#include "runtime/transport.h"

namespace emporium::ps {

class CutFeed {
 public:
  // `shard`: wakes the shard's thread when it may copy on, or need not.
  explicit CutFeed(runtime::Waker shard) : shard_(std::move(shard)), pieces_(kPieces) {}

  // -- The shard's thread --
  bool HasRoom() const { return pieces_.size() < kPieces; }
  // Waits until there is room. False when the feed is closed.
  bool Put(CutPiece piece) { return pieces_.Push(std::move(piece)); }

  // -- The writer's thread --
  // Waits; nothing when the feed is closed and empty.
  std::optional<CutPiece> Take() {
    std::optional<CutPiece> piece = pieces_.Pop();
    shard_.Wake();
    return piece;
  }

  void Close() {
    pieces_.Close();
    shard_.Wake();
  }
  bool closed() const { return pieces_.closed(); }

 private:
  static constexpr size_t kPieces = 32;
  runtime::Waker shard_;
  runtime::Queue<CutPiece> pieces_;
};

}  // namespace emporium::ps
