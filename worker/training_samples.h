// The training samples of a train stage on retrieval data, in the order of time: which events form
// one, and what is known at its reference time. Made once; immutable; safe from any thread.
//
// A sample is an event, or all events of a user with the same group value. Its reference time is a
// function of (seed, stage, its first event): the random lag is drawn once, not in every epoch, so
// that which samples qualify does not change while a stage runs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/dataset.h"
#include "worker/history.h"

namespace emporium::worker {

class TrainingSamples {
 public:
  // InvalidArgument when no sample is left, with what left them out.
  static Result<TrainingSamples> Create(const Dataset& dataset, const History& history,
                                        const spec::Job& job, StageId stage);

  uint64_t size() const { return references_.size(); }
  const Reference& reference(uint64_t sample) const { return references_[sample]; }
  // Its events that carry an item (positions among all events), in order.
  std::span<const int32_t> events(uint64_t sample) const {
    return std::span(events_).subspan(offset_[sample], offset_[sample + 1] - offset_[sample]);
  }

 private:
  std::vector<Reference> references_;
  std::vector<int32_t> events_;
  std::vector<uint64_t> offset_{0};
};

// Label of each event as 1 or 0, empty when the job has no label column.
Result<std::vector<uint8_t>> BinaryLabels(const Dataset& dataset, const spec::Data& data,
                                          double positive_from);

}  // namespace emporium::worker
