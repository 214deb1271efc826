// The results of the chunks of one evaluation or export, until they are combined: opaque bytes, in
// memory, bounded by limits::kMaxChunkBytes. Belongs to one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "proto/status.h"

namespace emporium::scheduler {

class ChunkResults {
 public:
  // Forgets everything and expects the chunks [0, chunks).
  void Begin(int64_t chunks);
  int64_t chunks() const { return chunks_; }
  int64_t present() const { return static_cast<int64_t>(results_.size()); }
  bool complete() const { return present() == chunks_; }
  // The lowest chunk without a result; only when not complete.
  int64_t FirstMissing() const;

  // A second result of the same chunk is the same bytes, and is dropped.
  Status Put(int64_t chunk, std::string result);
  // The results from `from` on, in order, as many as fit one answer; at least one, unless `from` is
  // the end. NotFound for a chunk that has no result.
  Result<std::vector<std::string>> Get(int64_t from) const;

 private:
  int64_t chunks_ = 0;
  uint64_t bytes_ = 0;
  std::map<int64_t, std::string> results_;
};

}  // namespace emporium::scheduler
