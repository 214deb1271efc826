#include "ps/expiry.h"

#include <algorithm>
#include <cstddef>

namespace emporium::ps {

uint64_t ShareOf(PartitionId partition, uint32_t partitions, uint64_t rows) {
  // rows * partitions may not fit 64 bits: whole rounds and the rest apart.
  const uint64_t each = rows / partitions;
  const uint64_t rest = rows % partitions;
  const uint64_t p = partition.value();
  return each + rest * (p + 1) / partitions - rest * p / partitions;
}

std::vector<uint64_t> Expired(std::vector<RowAge> rows, const ExpiryRules& rules, uint64_t share,
                              uint32_t step) {
  const size_t all = rows.size();
  std::erase_if(rows, [&](const RowAge& row) { return row.last_step >= step; });
  const auto stays = [&](const RowAge& row) {
    const bool old = rules.untouched_steps > 0 && step - row.last_step >= rules.untouched_steps;
    return !old && !(row.popularity < rules.popularity_below);
  };
  const auto rest =
      std::partition(rows.begin(), rows.end(), [&](const RowAge& row) { return !stays(row); });
  size_t going = static_cast<size_t>(rest - rows.begin());
  if (rules.rows > 0 && all - going > share) {
    const size_t more = std::min<size_t>(all - going - share, rows.size() - going);
    std::nth_element(rest, rest + static_cast<ptrdiff_t>(more), rows.end(),
                     [](const RowAge& a, const RowAge& b) {
                       return a.popularity != b.popularity ? a.popularity < b.popularity
                                                           : a.key > b.key;
                     });
    going += more;
  }
  std::vector<uint64_t> keys;
  keys.reserve(going);
  for (size_t i = 0; i < going; ++i) keys.push_back(rows[i].key);
  std::sort(keys.begin(), keys.end());
  return keys;
}

}  // namespace emporium::ps
