#include "worker/scenarios.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "proto/model_options.h"

namespace emporium::worker {
namespace {

Status NotListed(const std::string& column, const std::string& value, int64_t event,
                 int64_t events) {
  return InvalidArgument("data.scenario: column \"" + column + "\" is \"" + value + "\" in event " +
                         std::to_string(event) + " of " + std::to_string(events) +
                         " (from 0, in the order of time), and the job lists no such value; add "
                         "value: \"" +
                         value + "\", or take such events out of the files");
}

}  // namespace

Result<std::vector<uint8_t>> ScenariosOf(const Dataset& dataset, const spec::Data& data) {
  std::vector<uint8_t> scenario_of;
  if (!data.has_scenario()) return scenario_of;
  const spec::Scenario& scenario = data.scenario();
  EMPORIUM_ASSIGN_OR_RETURN(const ColumnView column, dataset.event_column(scenario.column()));
  const auto events = static_cast<size_t>(dataset.events());
  scenario_of.reserve(events);
  if (column.type == spec::INT && column.ints.size() == events) {
    std::map<int64_t, uint8_t> number;
    for (int i = 0; i < scenario.value_size(); ++i) {
      int64_t value = 0;
      if (ParseWhole(scenario.value(i), &value)) number.emplace(value, static_cast<uint8_t>(i));
    }
    for (size_t event = 0; event < events; ++event) {
      const auto found = number.find(column.ints[event]);
      if (found == number.end()) {
        return NotListed(scenario.column(), std::to_string(column.ints[event]),
                         static_cast<int64_t>(event), dataset.events());
      }
      scenario_of.push_back(found->second);
    }
    return scenario_of;
  }
  if (column.codes.size() != events) {
    return InvalidArgument("data.scenario.column: \"" + scenario.column() +
                           "\" must be a STRING or INT column of data.events");
  }
  std::map<int32_t, uint8_t> number;  // by code, as they come up
  for (size_t event = 0; event < events; ++event) {
    const int32_t code = column.codes[event];
    auto known = number.find(code);
    if (known == number.end()) {
      const std::string text(code < 0 ? "" : column.text(code));
      const auto value = std::find(scenario.value().begin(), scenario.value().end(), text);
      if (value == scenario.value().end()) {
        return NotListed(scenario.column(), text, static_cast<int64_t>(event), dataset.events());
      }
      known = number.emplace(code, static_cast<uint8_t>(value - scenario.value().begin())).first;
    }
    scenario_of.push_back(known->second);
  }
  return scenario_of;
}

std::vector<std::vector<int32_t>> ItemsOfScenarios(const Dataset& dataset,
                                                   const std::vector<uint8_t>& scenario_of,
                                                   int scenarios) {
  if (scenario_of.empty()) {
    std::vector<int32_t> all(static_cast<size_t>(dataset.items()));
    std::iota(all.begin(), all.end(), 0);
    return {std::move(all)};
  }
  std::vector<std::vector<int32_t>> items(static_cast<size_t>(scenarios));
  for (int32_t item = 0; item < dataset.items(); ++item) {
    for (const int32_t event : dataset.events_of_item(item)) {
      std::vector<int32_t>& of = items[scenario_of[static_cast<size_t>(event)]];
      if (of.empty() || of.back() != item) of.push_back(item);
    }
  }
  return items;
}

}  // namespace emporium::worker
