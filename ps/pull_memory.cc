#include "ps/pull_memory.h"

#include <algorithm>
#include <utility>

namespace emporium::ps {
namespace {

uint64_t SizeOf(const PullMemory::Pull& pull) {
  uint64_t size = pull.bytes.bytes().size();
  for (const PullMemory::Section& section : pull.sections) {
    size += sizeof(section) + section.slots.size() * sizeof(Slot);
  }
  return size;
}

}  // namespace

const PullMemory::Section* PullMemory::Pull::Find(TableId table) const {
  const auto found = std::find_if(sections.begin(), sections.end(),
                                  [table](const Section& s) { return s.table == table; });
  return found == sections.end() ? nullptr : &*found;
}

void PullMemory::Remember(MicroBatch m, Pull pull) {
  Take(m);
  const uint64_t size = SizeOf(pull);
  if (bytes_ + size > max_bytes_) return;
  bytes_ += size;
  pulls_.emplace(m, std::move(pull));
}

std::optional<PullMemory::Pull> PullMemory::Take(MicroBatch m) {
  const auto found = pulls_.find(m);
  if (found == pulls_.end()) return std::nullopt;
  std::optional<Pull> pull(std::move(found->second));
  pulls_.erase(found);
  bytes_ -= SizeOf(*pull);
  return pull;
}

void PullMemory::Forget() {
  pulls_.clear();
  bytes_ = 0;
}

}  // namespace emporium::ps
