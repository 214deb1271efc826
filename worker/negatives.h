// The negatives of a stage (models.md H4): which items a micro-batch draws, and how many times it
// is expected to draw each. Drawing is with replacement. Immutable; safe from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "proto/job.pb.h"
#include "worker/sampler.h"

namespace emporium::worker {

class NegativeSampler {
 public:
  using Spec = google::protobuf::RepeatedPtrField<spec::Negatives>;

  // `events_of_item`: training events by item. With no event at all, unigram is uniform.
  NegativeSampler(const Spec& negatives, const std::vector<int64_t>& events_of_item);
  // Draws from these items alone, one at least, of which there are so many events; not with all.
  NegativeSampler(const Spec& negatives, std::vector<int32_t> among,
                  const std::vector<int64_t>& events);

  bool in_batch() const { return in_batch_; }
  // Every item of the catalogue is a candidate.
  bool all() const { return all_; }
  bool draws() const { return all_ || !sources_.empty(); }
  // Draws of one call of Draw; with all, the catalogue besides.
  double expected_total() const { return total_; }
  // Expected number of times that an item is drawn.
  double Expected(int32_t item) const;
  // Appends what is drawn, without the whole catalogue.
  void Draw(RandomStream* random, std::vector<int32_t>* items) const;
  // The same; what `refused` does not let pass is drawn again, and after kMaxDraws left out.
  template <class Refused>
  void DrawUnless(Refused refused, RandomStream* random, std::vector<int32_t>* items) const {
    for (const Source& source : sources_) {
      for (uint32_t i = 0; i < source.count; ++i) {
        int32_t item = DrawOne(source, random);
        for (int draws = 1; draws < kMaxDraws && refused(item); ++draws) {
          item = DrawOne(source, random);
        }
        if (!refused(item)) items->push_back(item);
      }
    }
  }

 private:
  static constexpr int kMaxDraws = 64;
  struct Source {
    uint32_t count = 0;
    bool uniform = true;
    double power = 0;  // of its table, when it is not uniform
  };
  int32_t DrawOne(const Source& source, RandomStream* random) const;

  int32_t items_ = 0;
  std::vector<int32_t> among_;  // what is drawn, by its place; empty: the items themselves
  bool in_batch_ = false;
  bool all_ = false;
  double total_ = 0;
  std::vector<Source> sources_;
  std::map<double, AliasTable> tables_;  // by power
};

}  // namespace emporium::worker
