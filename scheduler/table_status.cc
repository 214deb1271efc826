#include "scheduler/table_status.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "proto/limits.h"

namespace emporium::scheduler {
namespace {

constexpr size_t kTop = limits::kPopularKeys;
constexpr double kBucketsPerOctave = limits::kPopularityBucketsPerOctave;

// The order in which two are added does not show.
void AddCount(const control::CountStatus& count, bool newest, control::CountStatus* sum) {
  sum->name = count.name;
  if (newest) sum->total = count.total;
  sum->zeros += count.zeros;
  for (const auto& [bucket, rows] : count.rows) sum->rows[bucket] += rows;
  std::vector<control::KeyCount>& top = sum->top;
  top.insert(top.end(), count.top.begin(), count.top.end());
  std::sort(top.begin(), top.end(), [](const control::KeyCount& a, const control::KeyCount& b) {
    return a.count != b.count ? a.count > b.count
                              : static_cast<uint64_t>(a.key) < static_cast<uint64_t>(b.key);
  });
  top.resize(std::min(top.size(), kTop));
}

nlohmann::json CountJson(const control::CountStatus& count) {
  nlohmann::json j = {{"total", count.total}, {"rows_without", count.zeros}};
  for (const double share : kCountQuantiles) {
    j["quantiles"][ShareText(share)] = CountQuantile(count, share);
  }
  j["top"] = nlohmann::json::array();
  for (const control::KeyCount& top : count.top) {
    j["top"].push_back({{"key", static_cast<uint64_t>(top.key)}, {"count", top.count}});
  }
  return j;
}

}  // namespace

void AddTable(const control::TableStatus& table, control::TableStatus* sum) {
  sum->table = table.table;
  sum->rows += table.rows;
  sum->bytes += table.bytes;
  sum->keys_refused += table.keys_refused;
  sum->rows_expired += table.rows_expired;
  const bool newest = table.version >= sum->version;  // totals are the same at one version
  sum->version = std::max(sum->version, table.version);
  if (table.__isset.popularity) {
    sum->__isset.popularity = true;
    AddCount(table.popularity, newest, &sum->popularity);
  }
  sum->counters.resize(std::max(sum->counters.size(), table.counters.size()));
  for (size_t c = 0; c < table.counters.size(); ++c) {
    AddCount(table.counters[c], newest, &sum->counters[c]);
  }
}

double CountQuantile(const control::CountStatus& count, double share) {
  int64_t rows = count.zeros;
  for (const auto& [bucket, n] : count.rows) rows += n;
  const double below = share * static_cast<double>(rows);
  int64_t seen = count.zeros;
  if (rows == 0 || static_cast<double>(seen) >= below) return 0;
  for (const auto& [bucket, n] : count.rows) {
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
  j["version"] = table.version;
  if (table.__isset.popularity) j["popularity"] = CountJson(table.popularity);
  for (const control::CountStatus& counter : table.counters) {
    j["counters"][counter.name] = CountJson(counter);
  }
  return j;
}

}  // namespace emporium::scheduler
