// What servers tell of tables, put together: sums over servers, quantiles, the largest counts.
#include "scheduler/table_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace emporium::scheduler {
namespace {

using ::testing::ElementsAre;

control::CountStatus Count(const std::string& name, double total, int64_t zeros,
                           std::map<int32_t, int64_t> rows, std::vector<int64_t> top) {
  control::CountStatus count;
  count.name = name;
  count.total = total;
  count.zeros = zeros;
  count.rows = std::move(rows);
  for (const int64_t key : top) {
    count.top.emplace_back();
    count.top.back().key = key;
    count.top.back().count = static_cast<double>(key);
  }
  return count;
}

control::TableStatus Table(int64_t version, control::CountStatus popularity,
                           std::vector<control::CountStatus> counters) {
  control::TableStatus table;
  table.table = "item";
  table.rows = 10;
  table.version = version;
  table.__set_popularity(popularity);
  table.counters = std::move(counters);
  return table;
}

TEST(TableStatusTest, CountersOfServersAddUpInAnyOrder) {
  // Buckets of a quarter octave: 8 holds counts from 4 on, 40 from 1024 on.
  const control::TableStatus a =
      Table(5, Count("popularity", 90, 1, {{0, 9}}, {1}),
            {Count("show", 100, 2, {{8, 7}, {40, 1}}, {7, 3}), Count("net", -4, 10, {}, {})});
  // It is a step behind: its total is not of the version that is told.
  const control::TableStatus b =
      Table(4, Count("popularity", 89, 1, {{0, 9}}, {2}),
            {Count("show", 99, 8, {{40, 2}}, {9}), Count("net", -3, 10, {}, {})});
  for (const bool swapped : {false, true}) {
    control::TableStatus sum;
    AddTable(swapped ? b : a, &sum);
    AddTable(swapped ? a : b, &sum);
    const nlohmann::json j = TableJson(sum);
    EXPECT_EQ(j["rows"], 20);
    EXPECT_EQ(j["version"], 5);
    EXPECT_EQ(j["popularity"]["total"], 90);
    const nlohmann::json& show = j["counters"]["show"];
    EXPECT_EQ(show["total"], 100);
    EXPECT_EQ(show["rows_without"], 10);
    EXPECT_EQ(show["quantiles"]["0.5"], 0);
    EXPECT_NEAR(show["quantiles"]["0.9"], 1024 * std::exp2(0.125), 1e-9);
    EXPECT_THAT(show["top"], ElementsAre(nlohmann::json{{"key", 9}, {"count", 9.0}},
                                         nlohmann::json{{"key", 7}, {"count", 7.0}},
                                         nlohmann::json{{"key", 3}, {"count", 3.0}}));
    EXPECT_EQ(j["counters"]["net"]["total"], -4);
  }
}

TEST(TableStatusTest, ATableWithoutCountsSaysNothingOfThem) {
  control::TableStatus table;
  table.table = "dense";
  control::TableStatus sum;
  AddTable(table, &sum);
  EXPECT_FALSE(TableJson(sum).contains("popularity"));
  EXPECT_FALSE(TableJson(sum).contains("counters"));
}

}  // namespace
}  // namespace emporium::scheduler
