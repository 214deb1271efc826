#include "worker/pointwise_rows.h"

#include <algorithm>
#include <span>
#include <utility>

namespace emporium::worker {
namespace {

constexpr double kDay = 86400;

SplitEvents SplitUsers(const Dataset& dataset) {
  SplitEvents rows;
  for (int32_t user = 0; user < dataset.users(); ++user) {
    const std::span<const int32_t> events = dataset.events_of_user(user);
    for (size_t i = 0; i < events.size(); ++i) {
      const size_t left = events.size() - i;
      EventRows& of = left == 1 ? rows.test : left == 2 ? rows.validation : rows.train;
      of.list.push_back(events[i]);
    }
  }
  for (EventRows* of : {&rows.train, &rows.validation, &rows.test}) {
    std::sort(of->list.begin(), of->list.end());
  }
  return rows;
}

}  // namespace

std::vector<int64_t> EventRows::All() const {
  std::vector<int64_t> rows(static_cast<size_t>(size()));
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = at(static_cast<int64_t>(i));
  return rows;
}

Result<SplitEvents> SplitEventsOf(const Dataset& dataset, const spec::Split& split) {
  const auto range = [](std::pair<int64_t, int64_t> of) {
    return EventRows{of.first, of.second, {}};
  };
  if (split.has_last_days()) {
    const std::span<const double> times = dataset.event_time();
    if (times.empty()) {
      return InvalidArgument("data.split.last_days: needs data.time_column");
    }
    const double test = times.back() - split.last_days().test_days() * kDay;
    const double validation = test - split.last_days().validation_days() * kDay;
    const auto at = [&](double time) {
      return std::lower_bound(times.begin(), times.end(), time) - times.begin();
    };
    return SplitEvents{range({0, at(validation)}), range({at(validation), at(test)}),
                       range({at(test), dataset.events()})};
  }
  if (split.has_leave_one_out()) {
    if (dataset.users() == 0) {
      return InvalidArgument("data.split.leave_one_out: needs data.user_column");
    }
    return SplitUsers(dataset);
  }
  return SplitEvents{range(dataset.train_range()), range(dataset.validation_range()),
                     range(dataset.test_range())};
}

}  // namespace emporium::worker
