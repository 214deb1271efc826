#include "worker/training_samples.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <unordered_map>
#include <utility>

#include "worker/sampler.h"

namespace emporium::worker {
namespace {

constexpr double kDay = 86400;

// What a stage asks of its samples.
struct Rules {
  bool new_items_only = false;
  bool ranking = false;
  double oldest = 0;  // events before this time are not sampled
  double earliest_reference = 0;
  int32_t min_length = 0;
  uint64_t seed = 0;
  StageId stage;
};

Rules RulesOf(const spec::Job& job, StageId stage, const History& history) {
  const spec::Train& train = job.stage(static_cast<int>(stage.value())).train();
  Rules rules;
  rules.new_items_only = train.sampled_softmax().new_items_only();
  rules.ranking = train.has_ranking();
  rules.oldest =
      train.last_days() > 0 ? history.train_cut() - train.last_days() * kDay : history.first_time();
  rules.earliest_reference = history.first_time() + history.options().warm_up_days() * kDay;
  rules.min_length = static_cast<int32_t>(history.options().min_length());
  if (train.sampled_softmax().every_position()) {
    rules.min_length = std::max(rules.min_length, 1);  // a row is asked as of an event
  }
  rules.seed = job.seed();
  rules.stage = stage;
  return rules;
}

// Group value of each event; empty when every event is a sample of its own.
Result<std::vector<int64_t>> GroupOfEvent(const Dataset& dataset, const spec::Data& data) {
  std::vector<int64_t> groups;
  if (!data.has_group_column()) {
    return groups;
  }
  EMPORIUM_ASSIGN_OR_RETURN(const ColumnView column, dataset.event_column(data.group_column()));
  if (!column.ints.empty()) {
    groups.assign(column.ints.begin(), column.ints.end());
  } else {
    groups.assign(column.codes.begin(), column.codes.end());
  }
  if (groups.size() != static_cast<size_t>(dataset.events())) {
    return InvalidArgument("data.group_column: \"" + data.group_column() +
                           "\" must be a STRING or INT column");
  }
  return groups;
}

struct Candidate {
  Reference reference;
  std::vector<int32_t> events;
};

class Collector {
 public:
  Collector(const Dataset& dataset, const History& history, Rules rules,
            std::vector<int64_t> groups, std::vector<uint8_t> labels)
      : dataset_(dataset),
        history_(history),
        rules_(rules),
        groups_(std::move(groups)),
        labels_(std::move(labels)) {}

  std::vector<Candidate> Collect() {
    for (int32_t user = 0; user < dataset_.users(); ++user) {
      CollectUser(user);
    }
    std::sort(samples_.begin(), samples_.end(), [](const Candidate& a, const Candidate& b) {
      return a.events.front() < b.events.front();
    });
    return std::move(samples_);
  }
  std::string LeftOut() const {
    return std::to_string(considered_) + " were looked at; " + std::to_string(short_) +
           " have fewer than " + std::to_string(rules_.min_length) + " events of history, " +
           std::to_string(warming_) + " lie in the warm-up, " + std::to_string(not_new_) +
           " have nothing that is " + (rules_.ranking ? "labelled positive" : "new to the user");
  }

 private:
  void CollectUser(int32_t user) {
    const std::span<const int32_t> events = dataset_.events_of_user(user);
    const int32_t end = history_.TrainEnd(user);
    by_group_.clear();
    started_.clear();
    for (int32_t i = 0; i < end; ++i) {
      const int32_t event = events[static_cast<size_t>(i)];
      const auto e = static_cast<size_t>(event);
      if (dataset_.event_item()[e] < 0 || dataset_.event_time()[e] < rules_.oldest) {
        continue;
      }
      size_t slot = started_.size();
      if (!groups_.empty()) {
        slot = by_group_.emplace(groups_[e], slot).first->second;
      }
      if (slot == started_.size()) {
        started_.push_back({i, {}});
      }
      started_[slot].events.push_back(event);
    }
    for (Started& started : started_) {
      Consider(user, std::move(started));
    }
  }

  struct Started {
    int32_t index;  // of its first event in the user's list
    std::vector<int32_t> events;
  };

  void Consider(int32_t user, Started started) {
    ++considered_;
    const auto first = static_cast<uint64_t>(started.events.front());
    RandomStream lag(rules_.seed, Purpose::kLag, {rules_.stage.value(), first});
    const Reference reference = history_.TrainReference(user, started.index, lag.Unit());
    if (history_.Entries(reference) < rules_.min_length) {
      ++short_;
    } else if (reference.time < rules_.earliest_reference &&
               history_.options().warm_up_days() > 0) {
      ++warming_;
    } else if (!HasPositive(reference, started.events)) {
      ++not_new_;
    } else {
      samples_.push_back({reference, std::move(started.events)});
    }
  }

  bool HasPositive(const Reference& reference, const std::vector<int32_t>& events) const {
    return std::any_of(events.begin(), events.end(), [&](int32_t event) {
      if (rules_.ranking && !labels_.empty() && labels_[static_cast<size_t>(event)] == 0) {
        return false;
      }
      return !(rules_.new_items_only && history_.Had(reference, event));
    });
  }

  const Dataset& dataset_;
  const History& history_;
  const Rules rules_;
  const std::vector<int64_t> groups_;
  const std::vector<uint8_t> labels_;
  std::unordered_map<int64_t, size_t> by_group_;
  std::vector<Started> started_;
  std::vector<Candidate> samples_;
  uint64_t considered_ = 0;
  uint64_t short_ = 0;
  uint64_t warming_ = 0;
  uint64_t not_new_ = 0;
};

// All rows of a user that his newest history reaches.
struct Sequence {
  Reference history;
  std::vector<Candidate> rows;
  std::vector<int32_t> entries;  // of the history, by row
};

Sequence SequenceOf(std::span<Candidate> rows, const Dataset& dataset, const History& history) {
  Sequence sequence;
  for (const Candidate& row : rows) {
    if (row.reference.known > sequence.history.known) sequence.history = row.reference;
  }
  std::vector<PastEvent> past;
  history.Build(sequence.history, &past);
  const std::span<const int32_t> events = dataset.events_of_user(sequence.history.user);
  for (Candidate& row : rows) {
    // A row has a history, so something is known.
    const int32_t newest = events[static_cast<size_t>(row.reference.known) - 1];
    const auto after = std::partition_point(
        past.begin(), past.end(), [newest](const PastEvent& e) { return e.event <= newest; });
    if (after == past.begin()) continue;
    sequence.entries.push_back(static_cast<int32_t>(after - past.begin()) - 1);
    sequence.rows.push_back(std::move(row));
  }
  return sequence;
}

// One for each user with rows, in the order of their last rows.
std::vector<Sequence> SequencesOf(std::vector<Candidate> rows, const Dataset& dataset,
                                  const History& history) {
  std::stable_sort(rows.begin(), rows.end(), [](const Candidate& a, const Candidate& b) {
    return a.reference.user < b.reference.user;
  });
  std::vector<Sequence> sequences;
  for (size_t from = 0; from < rows.size();) {
    size_t to = from;
    while (to < rows.size() && rows[to].reference.user == rows[from].reference.user) ++to;
    sequences.push_back(SequenceOf(std::span(rows).subspan(from, to - from), dataset, history));
    from = to;
  }
  std::sort(sequences.begin(), sequences.end(), [](const Sequence& a, const Sequence& b) {
    return a.rows.back().events.front() < b.rows.back().events.front();
  });
  return sequences;
}

}  // namespace

Result<std::vector<uint8_t>> BinaryLabels(const Dataset& dataset, const spec::Data& data,
                                          double positive_from) {
  std::vector<uint8_t> labels;
  if (!data.has_label_column()) {
    return labels;
  }
  EMPORIUM_ASSIGN_OR_RETURN(const ColumnView column, dataset.event_column(data.label_column()));
  labels.resize(static_cast<size_t>(dataset.events()));
  if (column.ints.size() == labels.size()) {
    for (size_t i = 0; i < labels.size(); ++i) {
      labels[i] = static_cast<double>(column.ints[i]) >= positive_from;
    }
  } else if (column.floats.size() == labels.size()) {
    for (size_t i = 0; i < labels.size(); ++i) {
      labels[i] = static_cast<double>(column.floats[i]) >= positive_from;
    }
  } else {
    return InvalidArgument("data.label_column: \"" + data.label_column() +
                           "\" must be an INT or FLOAT column");
  }
  return labels;
}

void TrainingSamples::AddRow(const Reference& reference, std::span<const int32_t> events) {
  references_.push_back(reference);
  events_.insert(events_.end(), events.begin(), events.end());
  offset_.push_back(events_.size());
}

Result<TrainingSamples> TrainingSamples::Create(const Dataset& dataset, const History& history,
                                                const spec::Job& job, StageId stage) {
  const spec::Stage& spec = job.stage(static_cast<int>(stage.value()));
  EMPORIUM_ASSIGN_OR_RETURN(std::vector<int64_t> groups, GroupOfEvent(dataset, job.data()));
  std::vector<uint8_t> labels;
  if (spec.train().has_ranking()) {
    EMPORIUM_ASSIGN_OR_RETURN(
        labels, BinaryLabels(dataset, job.data(), spec.train().ranking().positive_from()));
  }
  Collector collector(dataset, history, RulesOf(job, stage, history), std::move(groups),
                      std::move(labels));
  std::vector<Candidate> rows = collector.Collect();
  TrainingSamples samples;
  if (spec.train().sampled_softmax().every_position()) {
    for (const Sequence& sequence : SequencesOf(std::move(rows), dataset, history)) {
      samples.histories_.push_back(sequence.history);
      samples.first_row_.push_back(samples.references_.size());
      for (const Candidate& row : sequence.rows) samples.AddRow(row.reference, row.events);
      samples.entries_.insert(samples.entries_.end(), sequence.entries.begin(),
                              sequence.entries.end());
    }
    samples.first_row_.push_back(samples.references_.size());
  } else {
    for (const Candidate& row : rows) samples.AddRow(row.reference, row.events);
  }
  if (samples.size() == 0) {
    return InvalidArgument("stage \"" + spec.name() + "\": no training sample is left; " +
                           collector.LeftOut());
  }
  return samples;
}

}  // namespace emporium::worker
