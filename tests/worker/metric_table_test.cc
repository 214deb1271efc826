#include "worker/metric_table.h"

#include <gtest/gtest.h>

#include <vector>

namespace emporium::worker {
namespace {

control::Metric Of(const std::string& name, double value) {
  control::Metric metric;
  metric.name = name;
  metric.value = value;
  return metric;
}

TEST(MetricTable, PutsFloorsAndSlicesBelowTheModel) {
  const std::vector<control::Metric> metrics = {
      Of("hr@10", 0.1308),
      Of("ndcg@10", 0.06612),
      Of("users", 943),
      Of("ndcg@10[country=France]", 0.5),
      Of("floor_knn_hr@10", 0.1092),
      Of("floor_pop0.5d_ndcg@10", 0.0463),
  };
  EXPECT_EQ(MetricTable(metrics),
            "                    hr@10   ndcg@10     users\n"
            "model              0.1308    0.0661       943\n"
            "knn (floor)        0.1092\n"
            "pop0.5d (floor)              0.0463\n"
            "country=France               0.5000\n");
  EXPECT_EQ(MetricTable({}), "");
}

}  // namespace
}  // namespace emporium::worker
