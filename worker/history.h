// What was known of a user at a moment (models.md H8), and what was not: the split of retrieval
// data and the histories of its samples. Nothing at or after a reference time is ever given out.
//
// A reference is a user, a time R and `known`: the number of the user's events, in the order (time,
// file), that lie before it.
//   1. Training (every split but the next): R = time of the sample - lag_seconds - U *
//      random_lag_days, rounded down to midnight UTC if the job says so; known = events with
//      time < R.
//   2. Leave-one-out without lag and midnight: R = time of the event, known = its position among
//   the
//      user's events. Files of that kind often give many of a user's events one time; position is
//      then the only order there is.
//   3. Evaluation by time: R = the cut, known = events before the cut, whatever the lag.
//      Leave-one-out: as in training, without the random part of the lag.
//
// Leave-one-out holds back the last event of a user (test) and the last but one (validation); users
// with fewer events than that have no part in training. By time: test starts at the newest event's
// time - test_days, validation validation_days before that. By files: the files must follow each
// other in time.
//
// Immutable; safe from any thread. Refers to the Dataset that it was made of.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/batch_source.h"
#include "worker/dataset.h"

namespace emporium::worker {

struct Reference {
  int32_t user = 0;
  int32_t known = 0;  // of events_of_user(user)
  double time = 0;    // R, in seconds
};

// An event of a history.
struct PastEvent {
  int32_t event = 0;  // position among all events
  int32_t count = 1;  // with distinct_items: times its item occurred before R
};

class History {
 public:
  // `keep_searches`: events without item are part of histories. InvalidArgument when the data's
  // split or columns do not allow histories.
  static Result<std::unique_ptr<History>> Create(const Dataset& dataset, const spec::Data& data,
                                                 bool keep_searches);

  // The first of the user's events (their number in his list) that training may not sample.
  int32_t TrainEnd(int32_t user) const;
  // [begin, end) of the user's list: the events that an evaluation wants to find.
  std::pair<int32_t, int32_t> Targets(int32_t user, EvalSplit split) const;

  // Number of an event in its user's list.
  int32_t IndexOf(int64_t event) const { return index_in_user_[static_cast<size_t>(event)]; }
  // `chance` in [0, 1) decides the random part of the lag.
  Reference TrainReference(int32_t user, int32_t index, double chance) const;
  Reference EvalReference(int32_t user, EvalSplit split) const;
  Reference ReferenceAt(int32_t user, AsOf as_of) const;
  // Time as of which the counters of a whole catalogue are taken: the cut; for leave-one-out, which
  // has none, now.
  double TimeOf(AsOf as_of) const;

  // Entries that the history of a reference has before it is cut to max_length.
  int32_t Entries(const Reference& reference) const;
  // The history: at most max_length entries, oldest first.
  void Build(const Reference& reference, std::vector<PastEvent>* past) const;
  // Whether the item of event `event` (of the reference's user) is among the user's known ones.
  bool Had(const Reference& reference, int32_t event) const {
    return first_index_[static_cast<size_t>(event)] < reference.known;
  }
  // Calls take(item) for each distinct item that the user is known to have had.
  template <class Take>
  void ForEachPastItem(const Reference& reference, Take take) const {
    const std::span<const int32_t> events = dataset_.events_of_user(reference.user);
    for (int32_t i = 0; i < reference.known; ++i) {
      const auto event = static_cast<size_t>(events[static_cast<size_t>(i)]);
      if (items_[event] >= 0 && first_index_[event] == i) {
        take(items_[event]);
      }
    }
  }
  // Whether the event is the first of its (user, item), at a time at which the user had earlier
  // events: a first purchase by a customer with history.
  bool FirstOfKnownUser(int32_t event) const;
  // Whether counters may see the event: by time all may; leave-one-out events that are held back
  // have no time at which they would be safe, so they are never counted.
  bool Counted(int32_t event) const;

  double first_time() const { return times_.empty() ? 0 : times_.front(); }
  // Training samples end before this time (leave-one-out: now).
  double train_cut() const { return leave_one_out_ ? now_ : cut_time_[0]; }
  // Then evaluated samples have times of their own, not a cut.
  bool leave_one_out() const { return leave_one_out_; }
  const spec::History& options() const { return options_; }

 private:
  History(const Dataset& dataset, const spec::Data& data, bool keep_searches);
  Status FindCuts(const spec::Split& split);
  void IndexUsers();
  int32_t KnownBefore(int32_t user, double time) const;
  int32_t KnownBeforeEvent(int32_t user, int64_t event) const;
  int32_t HeldOut(int32_t user, EvalSplit split) const;

  const Dataset& dataset_;
  const spec::History options_;
  const bool keep_searches_;
  const bool by_position_;  // rule 2
  bool leave_one_out_ = false;
  std::span<const int32_t> items_;
  std::span<const int32_t> users_;
  std::span<const double> times_;
  double now_ = 0;             // just after the newest event
  int64_t cut_event_[2] = {};  // first event of validation, of test (by time)
  double cut_time_[2] = {};
  std::vector<int32_t> first_index_;     // by event: number in its user's list of the first event
                                         // with its item (a search: itself)
  std::vector<int32_t> index_in_user_;   // by event: its own number there
  std::vector<int32_t> entries_before_;  // by event: entries of its user's history before it
};

}  // namespace emporium::worker
