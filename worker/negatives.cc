#include "worker/negatives.h"

#include <cmath>
#include <utility>

#include "proto/check.h"

namespace emporium::worker {

NegativeSampler::NegativeSampler(const Spec& negatives, const std::vector<int64_t>& events_of_item)
    : items_(static_cast<int32_t>(events_of_item.size())) {
  for (const spec::Negatives& entry : negatives) {
    Source source;
    if (entry.has_uniform()) {
      source.count = entry.uniform().count();
    } else if (entry.has_unigram()) {
      source.count = entry.unigram().count();
      source.uniform = false;
      source.power = static_cast<double>(entry.unigram().power());
      std::vector<double> weights;
      double sum = 0;
      for (const int64_t n : events_of_item) {
        weights.push_back(n == 0 ? 0 : std::pow(static_cast<double>(n), source.power));
        sum += weights.back();
      }
      source.uniform = sum == 0;
      if (!source.uniform) {
        tables_.try_emplace(source.power, weights);
      }
    }
    in_batch_ = in_batch_ || entry.has_in_batch();
    all_ = all_ || entry.has_all();
    if (source.count > 0) {
      sources_.push_back(source);
      total_ += source.count;
    }
  }
  total_ += all_ ? items_ : 0;
}

NegativeSampler::NegativeSampler(const Spec& negatives, std::vector<int32_t> among,
                                 const std::vector<int64_t>& events)
    : NegativeSampler(negatives, events) {
  EMPORIUM_CHECK(!among.empty() && among.size() == events.size() && !all_,
                 "some items are drawn, and their events are known");
  among_ = std::move(among);
}

double NegativeSampler::Expected(int32_t item) const {
  EMPORIUM_CHECK(among_.empty(), "expectations are asked of the whole catalogue");
  double expected = all_ ? 1 : 0;
  for (const Source& source : sources_) {
    const double p = source.uniform
                         ? 1.0 / items_
                         : tables_.at(source.power).probability(static_cast<uint64_t>(item));
    expected += source.count * p;
  }
  return expected;
}

int32_t NegativeSampler::DrawOne(const Source& source, RandomStream* random) const {
  const uint64_t place = source.uniform ? random->Below(static_cast<uint64_t>(items_))
                                        : tables_.at(source.power).Draw(random);
  return among_.empty() ? static_cast<int32_t>(place) : among_[place];
}

void NegativeSampler::Draw(RandomStream* random, std::vector<int32_t>* items) const {
  for (const Source& source : sources_) {
    for (uint32_t i = 0; i < source.count; ++i) items->push_back(DrawOne(source, random));
  }
}

}  // namespace emporium::worker
