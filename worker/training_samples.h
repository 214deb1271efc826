// The training samples of a train stage on retrieval data, in the order of time: which events form
// one, and what is known at its reference time. Made once; immutable; safe from any thread.
//
// A row is an event, or all events of a user with the same group value. Its reference time is a
// function of (seed, stage, its first event): the random lag is drawn once, not in every epoch, so
// that which rows qualify does not change while a stage runs.
//
// A sample is a row or, with every_position, all rows of a user: they share the history of the one
// that knows most, and a row asks for its own events as of an entry of it. Rows of which that
// history has no entry any more are left out.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
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

  uint64_t size() const { return every_position() ? histories_.size() : references_.size(); }
  bool every_position() const { return !histories_.empty(); }
  // The rows of a sample, [first, last), at least one.
  std::pair<uint64_t, uint64_t> rows(uint64_t sample) const {
    if (!every_position()) return {sample, sample + 1};
    return {first_row_[sample], first_row_[sample + 1]};
  }
  // What the history of a sample is taken as of.
  const Reference& history(uint64_t sample) const {
    return every_position() ? histories_[sample] : references_[sample];
  }

  const Reference& reference(uint64_t row) const { return references_[row]; }
  // Its events that carry an item (positions among all events), in order.
  std::span<const int32_t> events(uint64_t row) const {
    return std::span(events_).subspan(offset_[row], offset_[row + 1] - offset_[row]);
  }
  // every_position: the newest entry that the row knows of its sample's history.
  int32_t entry(uint64_t row) const { return entries_[row]; }

 private:
  void AddRow(const Reference& reference, std::span<const int32_t> events);

  std::vector<Reference> references_;
  std::vector<int32_t> events_;
  std::vector<uint64_t> offset_{0};
  // every_position
  std::vector<Reference> histories_;  // by sample
  std::vector<uint64_t> first_row_;
  std::vector<int32_t> entries_;  // by row
};

// Label of each event as 1 or 0, empty when the job has no label column.
Result<std::vector<uint8_t>> BinaryLabels(const Dataset& dataset, const spec::Data& data,
                                          double positive_from);

}  // namespace emporium::worker
