#include "worker/history.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

namespace emporium::worker {
namespace {

constexpr double kDay = 86400;

bool PositionRule(const spec::Data& data) {
  const spec::History& h = data.history();
  return data.split().has_leave_one_out() && h.lag_seconds() == 0 && h.random_lag_days() == 0 &&
         !h.midnight();
}

}  // namespace

History::History(const Dataset& dataset, const spec::Data& data, bool keep_searches)
    : dataset_(dataset),
      options_(data.history()),
      keep_searches_(keep_searches),
      by_position_(PositionRule(data)),
      leave_one_out_(data.split().has_leave_one_out()),
      items_(dataset.event_item()),
      users_(dataset.event_user()),
      times_(dataset.event_time()) {}

Result<std::unique_ptr<History>> History::Create(const Dataset& dataset, const spec::Data& data,
                                                 bool keep_searches) {
  std::unique_ptr<History> history(  // NOLINT: private constructor
      new History(dataset, data, keep_searches));
  const auto events = static_cast<size_t>(dataset.events());
  if (history->items_.size() != events || history->users_.size() != events ||
      history->times_.size() != events) {
    return InvalidArgument(
        "data: a model with histories needs user_column, item_column and time_column");
  }
  if (history->options_.lag_seconds() < 0 || history->options_.random_lag_days() < 0) {
    return InvalidArgument("data.history: a lag below 0 would show a sample its own future");
  }
  if (history->options_.max_length() == 0) {
    return InvalidArgument("data.history.max_length: must be at least 1");
  }
  EMPORIUM_RETURN_IF_ERROR(history->FindCuts(data.split()));
  history->IndexUsers();
  return history;
}

Status History::FindCuts(const spec::Split& split) {
  const auto all = static_cast<int64_t>(times_.size());
  now_ = times_.empty() ? 0
                        : std::nextafter(*std::max_element(times_.begin(), times_.end()),
                                         std::numeric_limits<double>::infinity());
  std::fill(cut_event_, cut_event_ + 2, all);
  std::fill(cut_time_, cut_time_ + 2, now_);
  if (split.has_last_days()) {
    const double newest = times_.back();
    cut_time_[1] = newest - split.last_days().test_days() * kDay;
    cut_time_[0] = cut_time_[1] - split.last_days().validation_days() * kDay;
    for (int i = 0; i < 2; ++i) {
      cut_event_[i] = std::lower_bound(times_.begin(), times_.end(), cut_time_[i]) - times_.begin();
    }
  } else if (split.has_files()) {
    cut_event_[0] = dataset_.validation_range().first;
    cut_event_[1] = dataset_.test_range().first;
    for (int i = 0; i < 2; ++i) {
      cut_time_[i] = cut_event_[i] < all ? times_[static_cast<size_t>(cut_event_[i])] : now_;
    }
    if (!std::is_sorted(times_.begin(), times_.end())) {
      return InvalidArgument(
          "data.split.files: an event of the validation or test files lies before one of the "
          "files that come before; a model with histories needs files that follow in time");
    }
  }
  return Status::Ok();
}

void History::IndexUsers() {
  first_index_.resize(items_.size());
  index_in_user_.resize(items_.size());
  entries_before_.resize(items_.size());
  // Where the user in work met each item first; `met_by` says whether that is this user's.
  std::vector<int32_t> met_by(static_cast<size_t>(dataset_.items()), -1);
  std::vector<int32_t> met_at(static_cast<size_t>(dataset_.items()), 0);
  for (int32_t user = 0; user < dataset_.users(); ++user) {
    int32_t index = 0;
    int32_t entries = 0;
    for (const int32_t e : dataset_.events_of_user(user)) {
      const auto event = static_cast<size_t>(e);
      const int32_t item = items_[event];
      index_in_user_[event] = index;
      first_index_[event] = index;
      entries_before_[event] = entries;
      if (item < 0) {
        entries += keep_searches_ ? 1 : 0;
      } else {
        const auto i = static_cast<size_t>(item);
        const bool again = met_by[i] == user;
        if (!again) {
          met_by[i] = user;
          met_at[i] = index;
        }
        first_index_[event] = met_at[i];
        entries += again && options_.distinct_items() ? 0 : 1;
      }
      ++index;
    }
  }
}

int32_t History::KnownBefore(int32_t user, double time) const {
  const std::span<const int32_t> events = dataset_.events_of_user(user);
  const auto it = std::partition_point(events.begin(), events.end(), [&](int32_t event) {
    return times_[static_cast<size_t>(event)] < time;
  });
  return static_cast<int32_t>(it - events.begin());
}

int32_t History::KnownBeforeEvent(int32_t user, int64_t event) const {
  const std::span<const int32_t> events = dataset_.events_of_user(user);
  return static_cast<int32_t>(std::lower_bound(events.begin(), events.end(), event) -
                              events.begin());
}

// The number of the held-out event in its user's list; -1 when the user has too few events.
int32_t History::HeldOut(int32_t user, EvalSplit split) const {
  const auto n = static_cast<int32_t>(dataset_.events_of_user(user).size());
  return std::max(-1, split == EvalSplit::kTest ? n - 1 : n - 2);
}

int32_t History::TrainEnd(int32_t user) const {
  if (leave_one_out_) {
    return std::max(0, HeldOut(user, EvalSplit::kValidation));
  }
  return KnownBeforeEvent(user, cut_event_[0]);
}

std::pair<int32_t, int32_t> History::Targets(int32_t user, EvalSplit split) const {
  if (leave_one_out_) {
    const int32_t index = HeldOut(user, split);
    return index < 0 ? std::pair(0, 0) : std::pair(index, index + 1);
  }
  const auto all = static_cast<int32_t>(dataset_.events_of_user(user).size());
  const int32_t test = KnownBeforeEvent(user, cut_event_[1]);
  return split == EvalSplit::kTest ? std::pair(test, all)
                                   : std::pair(KnownBeforeEvent(user, cut_event_[0]), test);
}

Reference History::TrainReference(int32_t user, int32_t index, double chance) const {
  const std::span<const int32_t> events = dataset_.events_of_user(user);
  const double time = times_[static_cast<size_t>(events[static_cast<size_t>(index)])];
  if (by_position_) {
    return {user, index, time};
  }
  double reference = time - options_.lag_seconds() - chance * options_.random_lag_days() * kDay;
  if (options_.midnight()) {
    reference = std::floor(reference / kDay) * kDay;
  }
  return {user, KnownBefore(user, reference), reference};
}

Reference History::EvalReference(int32_t user, EvalSplit split) const {
  if (leave_one_out_) {
    const int32_t index = HeldOut(user, split);
    return index < 0 ? Reference{user, 0, now_} : TrainReference(user, index, 0);
  }
  const size_t cut = split == EvalSplit::kTest ? 1 : 0;
  return {user, KnownBeforeEvent(user, cut_event_[cut]), cut_time_[cut]};
}

Reference History::ReferenceAt(int32_t user, AsOf as_of) const {
  switch (as_of) {
    case AsOf::kValidationCut:
      return EvalReference(user, EvalSplit::kValidation);
    case AsOf::kTestCut:
      return EvalReference(user, EvalSplit::kTest);
    case AsOf::kNow:
      return {user, static_cast<int32_t>(dataset_.events_of_user(user).size()), now_};
  }
  EMPORIUM_CHECK(false, "a moment is one of three");
  return {};
}

double History::TimeOf(AsOf as_of) const {
  if (leave_one_out_ || as_of == AsOf::kNow) {
    return now_;
  }
  return cut_time_[as_of == AsOf::kTestCut ? 1 : 0];
}

int32_t History::Entries(const Reference& reference) const {
  const std::span<const int32_t> events = dataset_.events_of_user(reference.user);
  if (reference.known == 0) {
    return 0;
  }
  const auto last = static_cast<size_t>(events[static_cast<size_t>(reference.known) - 1]);
  const bool search = items_[last] < 0;
  const bool again = !search && first_index_[last] != index_in_user_[last];
  const bool adds = search ? keep_searches_ : !(again && options_.distinct_items());
  return entries_before_[last] + (adds ? 1 : 0);
}

void History::Build(const Reference& reference, std::vector<PastEvent>* past) const {
  past->clear();
  const std::span<const int32_t> events = dataset_.events_of_user(reference.user);
  const auto longest = static_cast<size_t>(options_.max_length());
  // Entry of each item met so far, by the number of its first event in the user's list.
  std::vector<int32_t> entry;
  if (options_.distinct_items()) {
    entry.assign(static_cast<size_t>(reference.known), -1);
  }
  for (int32_t i = reference.known - 1; i >= 0; --i) {
    const int32_t event = events[static_cast<size_t>(i)];
    const bool search = items_[static_cast<size_t>(event)] < 0;
    if (search && !keep_searches_) {
      continue;
    }
    if (options_.distinct_items() && !search) {
      int32_t& at = entry[static_cast<size_t>(first_index_[static_cast<size_t>(event)])];
      if (at >= 0) {
        ++(*past)[static_cast<size_t>(at)].count;
        continue;
      }
      at = past->size() < longest ? static_cast<int32_t>(past->size()) : -1;
    }
    if (past->size() < longest) {
      past->push_back({event, 1});
    } else if (!options_.distinct_items()) {
      break;
    }
  }
  std::reverse(past->begin(), past->end());
}

bool History::FirstOfKnownUser(int32_t event) const {
  const auto e = static_cast<size_t>(event);
  if (first_index_[e] != index_in_user_[e] || items_[e] < 0) {
    return false;
  }
  const int32_t first = dataset_.events_of_user(users_[e]).front();
  return times_[e] > times_[static_cast<size_t>(first)];
}

bool History::Counted(int32_t event) const {
  return !leave_one_out_ ||
         index_in_user_[static_cast<size_t>(event)] < TrainEnd(users_[static_cast<size_t>(event)]);
}

}  // namespace emporium::worker
