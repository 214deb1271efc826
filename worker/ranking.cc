#include "worker/ranking.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "proto/check.h"

namespace emporium::worker {

namespace {

// Items whose scores are accumulated together: small enough for the first cache level, a constant
// so that the inner loops are vectorised.
constexpr int32_t kBlock = 128;

int32_t CountAbove(const float* scores, float bound) {
  int32_t count = 0;
  for (int32_t i = 0; i < kBlock; ++i) count += scores[i] > bound ? 1 : 0;
  return count;
}

int32_t CountAtLeast(const float* scores, float bound) {
  int32_t count = 0;
  for (int32_t i = 0; i < kBlock; ++i) count += scores[i] >= bound ? 1 : 0;
  return count;
}

bool Outranks(float score, int32_t item, float target_score, int32_t target, TieRule ties) {
  if (score != target_score) return score > target_score;
  return ties == TieRule::kLowerNumberFirst ? item < target : item > target;
}

// Items of [begin, end) that outrank the target.
int32_t CountOutranking(std::span<const float> scores, int32_t begin, int32_t end, int32_t target,
                        TieRule ties) {
  const float bound = scores[target];
  int32_t count = 0;
  while (begin < end) {
    const bool whole = begin + kBlock <= end && (target < begin || target >= begin + kBlock);
    if (whole) {
      const bool wins_ties = (begin < target) == (ties == TieRule::kLowerNumberFirst);
      count += wins_ties ? CountAtLeast(&scores[begin], bound) : CountAbove(&scores[begin], bound);
      begin += kBlock;
    } else {
      const int32_t stop = std::min(begin + kBlock, end);
      for (; begin < stop; ++begin) {
        count += Outranks(scores[begin], begin, bound, target, ties) ? 1 : 0;
      }
    }
  }
  return count;
}

}  // namespace

ItemMatrix::ItemMatrix(int32_t items, int32_t width)
    : items_(items),
      width_(width),
      values_((static_cast<size_t>(items) + kBlock - 1) / kBlock * kBlock * width, 0.0f) {}

void ItemMatrix::Set(int32_t first, std::span<const float> vectors) {
  const auto rows = static_cast<int32_t>(vectors.size() / width_);
  EMPORIUM_CHECK(first >= 0 && rows <= items_ - first, "items lie inside the catalogue");
  for (int32_t row = 0; row < rows; ++row) {
    const int32_t item = first + row;
    float* column = &values_[static_cast<size_t>(item / kBlock) * width_ * kBlock + item % kBlock];
    for (int32_t d = 0; d < width_; ++d) {
      column[static_cast<size_t>(d) * kBlock] = vectors[static_cast<size_t>(row) * width_ + d];
    }
  }
}

Status ItemMatrix::Score(std::span<const float> user, std::span<float> scores) const {
  EMPORIUM_CHECK(
      user.size() == static_cast<size_t>(width_) && scores.size() == static_cast<size_t>(items_),
      "a user vector has the items' width, and every item gets a score");
  bool finite = true;
  for (int32_t begin = 0; begin < items_; begin += kBlock) {
    std::array<float, kBlock> sum{};
    const float* values = &values_[static_cast<size_t>(begin) * width_];
    for (int32_t d = 0; d < width_; ++d, values += kBlock) {
      const float u = user[d];
      for (int32_t i = 0; i < kBlock; ++i) sum[i] += u * values[i];
    }
    const int32_t count = std::min(kBlock, items_ - begin);
    for (int32_t i = 0; i < count; ++i) finite &= std::isfinite(sum[i]);
    std::copy_n(sum.begin(), count, scores.begin() + begin);
  }
  if (!finite) {
    return InvalidArgument(
        "a score is not a finite number: the model's vectors have overflowed; lower the learning "
        "rate or raise the regularisation");
  }
  return Status::Ok();
}

void RankTargets(std::span<const float> scores, std::span<const int32_t> targets,
                 std::span<const int32_t> masked, TieRule ties, std::vector<int32_t>* ranks) {
  const auto items = static_cast<int32_t>(scores.size());
  std::vector<int32_t> sorted_targets(targets.begin(), targets.end());
  std::sort(sorted_targets.begin(), sorted_targets.end());
  const size_t first_rank = ranks->size();
  for (const int32_t target : targets) {
    EMPORIUM_CHECK(target >= 0 && target < items, "a target is an item of the catalogue");
    int32_t above = CountOutranking(scores, 0, items, target, ties);
    for (const int32_t item : masked) {
      if (!Outranks(scores[item], item, scores[target], target, ties)) continue;
      if (std::binary_search(sorted_targets.begin(), sorted_targets.end(), item)) continue;
      --above;
    }
    ranks->push_back(above + 1);
  }
  std::sort(ranks->begin() + static_cast<std::ptrdiff_t>(first_rank), ranks->end());
}

std::vector<int32_t> TopItems(std::span<const float> scores, std::span<const int32_t> masked,
                              int32_t k) {
  std::vector<uint8_t> hidden(scores.size(), 0);
  for (const int32_t item : masked) hidden[item] = 1;
  std::vector<int32_t> order;
  order.reserve(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    if (hidden[i] == 0) order.push_back(static_cast<int32_t>(i));
  }
  const size_t keep = std::min(order.size(), static_cast<size_t>(std::max(k, 0)));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(keep), order.end(),
                    [&](int32_t a, int32_t b) {
                      return Outranks(scores[a], a, scores[b], b, TieRule::kLowerNumberFirst);
                    });
  order.resize(keep);
  return order;
}

}  // namespace emporium::worker
