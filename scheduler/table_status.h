// The tables as the servers tell of them, put together over all servers, for people. Pure; the
// order in which servers are added does not show. Values; safe from any thread.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "proto/control_types.h"

namespace emporium::scheduler {

inline constexpr std::array<double, 4> kCountQuantiles = {0.5, 0.9, 0.99, 0.999};

// Adds what one server says to what others have said of the table.
void AddTable(const control::TableStatus& table, control::TableStatus* sum);
// The count that this share of the rows stays below, within a factor of 1.3; 0 when most rows have
// none.
double CountQuantile(const control::CountStatus& count, double share);
// "0.99"
std::string ShareText(double share);
nlohmann::json TableJson(const control::TableStatus& table);

}  // namespace emporium::scheduler
