#include "worker/floors.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

#include "proto/check.h"
#include "worker/ranking.h"

namespace emporium::worker {

namespace {

constexpr double kDay = 86400;

std::string PopularityName(double days) {
  if (days == 0) return "floor_popall_";
  std::ostringstream name;
  name << "floor_pop" << days << "d_";
  return name.str();
}

}  // namespace

Floors::Floors(const Dataset& dataset, std::vector<double> window_days)
    : dataset_(dataset), window_days_(std::move(window_days)) {
  for (const double days : window_days_) names_.push_back(PopularityName(days));
  names_.push_back("floor_knn_");
}

Result<Floors> Floors::Create(const Dataset& dataset, const spec::Split& split, EvalSplit on,
                              std::vector<double> window_days) {
  for (const double days : window_days) {
    if (!(days >= 0) || std::isinf(days)) {
      return InvalidArgument("evaluate.floor_days: a window is 0 (all time) or a number of days");
    }
  }
  Floors floors(dataset, std::move(window_days));
  EMPORIUM_RETURN_IF_ERROR(floors.FindPast(split, on));
  return floors;
}

Status Floors::FindPast(const spec::Split& split, EvalSplit on) {
  const auto times = dataset_.event_time();
  std::vector<uint8_t> known(times.size(), 0);
  reference_.assign(dataset_.users(), 0);
  if (split.has_leave_one_out()) {
    const size_t held_out = on == EvalSplit::kTest ? 1 : 2;
    for (int32_t user = 0; user < dataset_.users(); ++user) {
      const auto events = dataset_.events_of_user(user);
      const size_t past = events.size() - std::min(events.size(), held_out);
      for (const int32_t event : events.first(past)) known[event] = 1;
      if (!events.empty()) reference_[user] = times[events[past]];
    }
  } else if (split.has_last_days() || split.has_files()) {
    size_t past = 0;
    double cut = 0;
    if (split.has_last_days()) {
      double days = split.last_days().test_days();
      if (on == EvalSplit::kValidation) days += split.last_days().validation_days();
      cut = times.empty() ? 0 : times.back() - days * kDay;
      past = std::lower_bound(times.begin(), times.end(), cut) - times.begin();
    } else {
      const auto held_out =
          on == EvalSplit::kTest ? dataset_.test_range() : dataset_.validation_range();
      past = static_cast<size_t>(held_out.first);
      cut = past < times.size() ? times[past] : 0;
    }
    std::fill_n(known.begin(), past, uint8_t{1});
    std::fill(reference_.begin(), reference_.end(), cut);
  } else {
    return InvalidArgument(
        "evaluate.floors: data.split holds nothing out, so there is nothing to rank; set "
        "leave_one_out or last_days, or floors: false");
  }
  KeepKnown(known);
  return Status::Ok();
}

void Floors::KeepKnown(const std::vector<uint8_t>& known) {
  const auto users = dataset_.event_user();
  const auto items = dataset_.event_item();
  const auto times = dataset_.event_time();
  for (size_t e = 0; e < known.size(); ++e) {
    if (known[e] == 0 || items[e] < 0) continue;
    known_time_.push_back(times[e]);
    known_item_.push_back(items[e]);
  }
  item_offset_.assign(1, 0);
  std::vector<int32_t> of_user;
  for (int32_t user = 0; user < dataset_.users(); ++user) {
    of_user.clear();
    for (const int32_t e : dataset_.events_of_user(user)) {
      EMPORIUM_CHECK(users[e] == user, "the events of a user are his");
      if (known[e] != 0 && items[e] >= 0) of_user.push_back(items[e]);
    }
    std::sort(of_user.begin(), of_user.end());
    of_user.erase(std::unique(of_user.begin(), of_user.end()), of_user.end());
    item_.insert(item_.end(), of_user.begin(), of_user.end());
    item_offset_.push_back(static_cast<int64_t>(item_.size()));
  }
  // The other way round, by counting.
  user_offset_.assign(static_cast<size_t>(dataset_.items()) + 1, 0);
  for (const int32_t item : item_) ++user_offset_[static_cast<size_t>(item) + 1];
  std::partial_sum(user_offset_.begin(), user_offset_.end(), user_offset_.begin());
  std::vector<int64_t> next(user_offset_.begin(), user_offset_.end() - 1);
  user_.resize(item_.size());
  for (int32_t user = 0; user < dataset_.users(); ++user) {
    for (const int32_t item : ItemsOf(user)) user_[next[item]++] = user;
  }
}

std::span<const int32_t> Floors::ItemsOf(int32_t user) const {
  return std::span(item_).subspan(item_offset_[user], item_offset_[user + 1] - item_offset_[user]);
}

std::span<const int32_t> Floors::UsersOf(int32_t item) const {
  return std::span(user_).subspan(user_offset_[item], user_offset_[item + 1] - user_offset_[item]);
}

std::vector<std::vector<UserRanks>> Floors::Rank(const EvalBatch& batch) const {
  EMPORIUM_CHECK(batch.user.size() + 1 == batch.target_offset.size() &&
                     batch.user.size() + 1 == batch.masked_offset.size(),
                 "an evaluation batch names its users");
  std::vector<std::vector<UserRanks>> ranks;
  for (const double days : window_days_) ranks.push_back(RankByPopularity(batch, days));
  ranks.push_back(RankByNeighbours(batch));
  return ranks;
}

std::vector<UserRanks> Floors::RankByPopularity(const EvalBatch& batch, double days) const {
  // Users in order of reference time, so that the window only moves forward.
  std::vector<size_t> order(batch.user.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return reference_[batch.user[a]] < reference_[batch.user[b]];
  });
  std::vector<float> counts(dataset_.items(), 0);  // whole numbers, exact to 2^24
  if (days == 0) {
    for (const int32_t item : known_item_) counts[item] += 1;
  }
  std::vector<UserRanks> ranks(batch.user.size());
  size_t begin = 0;
  size_t end = 0;
  for (const size_t row : order) {
    if (days > 0) {
      const double reference = reference_[batch.user[row]];
      while (end < known_time_.size() && known_time_[end] < reference) {
        counts[known_item_[end++]] += 1;
      }
      while (begin < end && known_time_[begin] < reference - days * kDay) {
        counts[known_item_[begin++]] -= 1;
      }
    }
    ranks[row] = RankUser(batch, row, counts, TieRule::kHigherNumberFirst);
  }
  return ranks;
}

std::vector<UserRanks> Floors::RankByNeighbours(const EvalBatch& batch) const {
  // Without a matrix of co-occurrences: the shared users of i and j are summed by user. First every
  // other user v gets the sum of 1 / sqrt(|U_i|) over the items i that he shares, then every item j
  // of his gets that sum.
  std::vector<double> root(dataset_.items());
  for (int32_t i = 0; i < dataset_.items(); ++i) {
    root[i] = std::sqrt(static_cast<double>(UsersOf(i).size()));
  }
  std::vector<double> shared(dataset_.users(), 0);
  std::vector<double> sum(dataset_.items());
  std::vector<float> scores(dataset_.items());
  std::vector<UserRanks> ranks(batch.user.size());
  for (size_t row = 0; row < batch.user.size(); ++row) {
    const auto past = ItemsOf(batch.user[row]);
    std::vector<int32_t> neighbours;
    for (const int32_t i : past) {
      for (const int32_t v : UsersOf(i)) {
        if (shared[v] == 0) neighbours.push_back(v);
        shared[v] += 1 / root[i];
      }
    }
    std::fill(sum.begin(), sum.end(), 0);
    for (const int32_t v : neighbours) {
      for (const int32_t j : ItemsOf(v)) sum[j] += shared[v];
      shared[v] = 0;
    }
    for (size_t j = 0; j < sum.size(); ++j) {
      scores[j] = root[j] > 0 ? static_cast<float>(sum[j] / root[j]) : 0.0f;
    }
    // An item's similarity to itself, 1, does not count.
    for (const int32_t i : past) scores[i] = static_cast<float>(sum[i] / root[i] - 1);
    ranks[row] = RankUser(batch, row, scores, TieRule::kLowerNumberFirst);
  }
  return ranks;
}

}  // namespace emporium::worker
