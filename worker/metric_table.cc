#include "worker/metric_table.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <string_view>
#include <vector>

namespace emporium::worker {

namespace {

// Where a metric stands: "floor_knn_ndcg@10" is row "knn (floor)", "ndcg@10[country=France]" row
// "country=France".
struct Place {
  std::string row;
  std::string column;
};

Place PlaceOf(const std::string& name) {
  constexpr std::string_view kFloor = "floor_";
  const size_t bracket = name.find('[');
  if (bracket != std::string::npos && name.back() == ']') {
    return {name.substr(bracket + 1, name.size() - bracket - 2), name.substr(0, bracket)};
  }
  const size_t end = name.find('_', kFloor.size());
  if (name.compare(0, kFloor.size(), kFloor) == 0 && end != std::string::npos) {
    return {name.substr(kFloor.size(), end - kFloor.size()) + " (floor)", name.substr(end + 1)};
  }
  return {"model", name};
}

size_t PlaceIn(std::vector<std::string>* list, const std::string& text) {
  const auto it = std::find(list->begin(), list->end(), text);
  const size_t place = it - list->begin();
  if (it == list->end()) list->push_back(text);
  return place;
}

// Counts as whole numbers, rates with four places.
std::string NumberText(const std::string& column, double value) {
  const bool count = column == "users" || column == "rows" || column == "items";
  char text[64];
  std::snprintf(text, sizeof(text), count ? "%.0f" : "%.4f", value);
  return text;
}

}  // namespace

std::string MetricTable(std::span<const control::Metric> metrics) {
  if (metrics.empty()) return "";
  std::vector<std::string> rows = {"model"};
  std::vector<std::string> columns;
  std::map<std::pair<size_t, size_t>, std::string> cells;
  std::vector<control::Metric> ordered(metrics.begin(), metrics.end());
  std::stable_partition(ordered.begin(), ordered.end(), [](const control::Metric& metric) {
    return metric.name.find('[') == std::string::npos;
  });
  for (const control::Metric& metric : ordered) {
    const Place place = PlaceOf(metric.name);
    const size_t row = PlaceIn(&rows, place.row);
    const size_t column = PlaceIn(&columns, place.column);
    cells[{row, column}] = NumberText(place.column, metric.value);
  }
  size_t name_width = 0;
  for (const std::string& row : rows) name_width = std::max(name_width, row.size());
  std::string text(name_width, ' ');
  std::vector<size_t> widths;
  for (const std::string& column : columns) {
    widths.push_back(std::max<size_t>(column.size(), 8) + 2);
    text += std::string(widths.back() - column.size(), ' ') + column;
  }
  text += '\n';
  for (size_t row = 0; row < rows.size(); ++row) {
    std::string line = rows[row] + std::string(name_width - rows[row].size(), ' ');
    for (size_t column = 0; column < columns.size(); ++column) {
      const auto cell = cells.find({row, column});
      const std::string value = cell == cells.end() ? std::string() : cell->second;
      line += std::string(widths[column] - std::min(widths[column], value.size()), ' ') + value;
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  }
  return text;
}

}  // namespace emporium::worker
