#include "scheduler/table_status.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "proto/limits.h"

namespace emporium::scheduler {
namespace {

constexpr size_t kTop = limits::kPopularKeys;
constexpr double kBucketsPerOctave = limits::kPopularityBucketsPerOctave;

}  // namespace

void AddTable(const control::TableStatus& table, control::TableStatus* sum) {
  sum->table = table.table;
  sum->rows += table.rows;
  sum->bytes += table.bytes;
  sum->keys_refused += table.keys_refused;
  sum->rows_expired += table.rows_expired;
  sum->popularity = sum->popularity || table.popularity;
  sum->popularity_total = std::max(sum->popularity_total, table.popularity_total);
  sum->popularity_zeros += table.popularity_zeros;
  for (const auto& [bucket, rows] : table.popularity_rows) sum->popularity_rows[bucket] += rows;
  std::vector<control::KeyCount>& top = sum->popularity_top;
  top.insert(top.end(), table.popularity_top.begin(), table.popularity_top.end());
  std::sort(top.begin(), top.end(), [](const control::KeyCount& a, const control::KeyCount& b) {
    return a.count != b.count ? a.count > b.count
                              : static_cast<uint64_t>(a.key) < static_cast<uint64_t>(b.key);
  });
  top.resize(std::min(top.size(), kTop));
}

double PopularityQuantile(const control::TableStatus& table, double share) {
  int64_t rows = table.popularity_zeros;
  for (const auto& [bucket, n] : table.popularity_rows) rows += n;
  const double below = share * static_cast<double>(rows);
  int64_t seen = table.popularity_zeros;
  if (rows == 0 || static_cast<double>(seen) >= below) return 0;
  for (const auto& [bucket, n] : table.popularity_rows) {
    seen += n;
    // The middle of the bucket.
    if (static_cast<double>(seen) >= below) return std::exp2((bucket + 0.5) / kBucketsPerOctave);
  }
  return 0;
}

std::string ShareText(double share) {
  std::string text = std::to_string(share);
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

nlohmann::json TableJson(const control::TableStatus& table) {
  nlohmann::json j = {{"name", table.table},
                      {"rows", table.rows},
                      {"bytes", table.bytes},
                      {"keys_refused", table.keys_refused},
                      {"rows_expired", table.rows_expired}};
  if (!table.popularity) return j;
  j["popularity"] = {{"total", table.popularity_total}, {"rows_without", table.popularity_zeros}};
  for (const double share : kPopularityQuantiles) {
    j["popularity"]["quantiles"][ShareText(share)] = PopularityQuantile(table, share);
  }
  j["popularity"]["top"] = nlohmann::json::array();
  for (const control::KeyCount& top : table.popularity_top) {
    j["popularity"]["top"].push_back(
        {{"key", static_cast<uint64_t>(top.key)}, {"count", top.count}});
  }
  return j;
}

}  // namespace emporium::scheduler
