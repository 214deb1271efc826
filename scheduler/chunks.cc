#include "scheduler/chunks.h"

#include <utility>

#include "scheduler/limits.h"

namespace emporium::scheduler {

void ChunkResults::Begin(int64_t chunks) {
  results_.clear();
  bytes_ = 0;
  chunks_ = chunks;
}

int64_t ChunkResults::FirstMissing() const {
  int64_t next = 0;
  for (const auto& [chunk, result] : results_) {
    if (chunk != next) break;
    ++next;
  }
  EMPORIUM_CHECK(next < chunks_, "a chunk is missing");
  return next;
}

Status ChunkResults::Put(int64_t chunk, std::string result) {
  if (chunk < 0 || chunk >= chunks_) {
    return InvalidArgument("chunk " + std::to_string(chunk) + " of " + std::to_string(chunks_));
  }
  if (results_.contains(chunk)) return Status::Ok();
  if (bytes_ + result.size() > limits::kMaxChunkBytes) {
    return ResourceExhausted("the results of a stage's chunks take more than " +
                             std::to_string(limits::kMaxChunkBytes >> 30) +
                             " GiB of the scheduler's memory; make the stage's output smaller");
  }
  bytes_ += result.size();
  results_.emplace(chunk, std::move(result));
  return Status::Ok();
}

Result<std::vector<std::string>> ChunkResults::Get(int64_t from) const {
  if (from < 0 || from > chunks_) {
    return InvalidArgument("chunk " + std::to_string(from) + " of " + std::to_string(chunks_));
  }
  std::vector<std::string> answer;
  uint64_t bytes = 0;
  for (int64_t chunk = from; chunk < chunks_; ++chunk) {
    const auto found = results_.find(chunk);
    if (found == results_.end()) {
      if (chunk > from) break;
      return NotFound("chunk " + std::to_string(chunk) + " has no result yet");
    }
    bytes += found->second.size();
    if (chunk > from && bytes > limits::kChunkAnswerBytes) break;
    answer.push_back(found->second);
  }
  return answer;
}

}  // namespace emporium::scheduler
