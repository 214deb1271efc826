#include "worker/retrieval_batches.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "worker/stage_plan.h"

namespace emporium::worker {
namespace {

// Training events by item, for popularity-proportional negatives.
std::vector<int64_t> TrainingEvents(const Dataset& dataset, const History& history) {
  std::vector<int64_t> events(static_cast<size_t>(dataset.items()), 0);
  for (int32_t user = 0; user < dataset.users(); ++user) {
    const auto of_user = dataset.events_of_user(user);
    for (int32_t i = 0; i < history.TrainEnd(user); ++i) {
      const int32_t item =
          dataset.event_item()[static_cast<size_t>(of_user[static_cast<size_t>(i)])];
      if (item >= 0) {
        ++events[static_cast<size_t>(item)];
      }
    }
  }
  return events;
}

}  // namespace

Result<std::unique_ptr<RetrievalBatches>> RetrievalBatches::Create(const RetrievalColumns& columns,
                                                                   const spec::Job& job) {
  std::unique_ptr<RetrievalBatches> batches(  // NOLINT: private constructor
      new RetrievalBatches(columns, job.seed()));
  for (int s = 0; s < job.stage_size(); ++s) {
    if (job.stage(s).has_train()) {
      EMPORIUM_RETURN_IF_ERROR(batches->AddStage(job, StageId(static_cast<uint32_t>(s))));
    }
  }
  return batches;
}

Status RetrievalBatches::AddStage(const spec::Job& job, StageId stage) {
  const spec::Train& train = job.stage(static_cast<int>(stage.value())).train();
  const Dataset& dataset = *columns_.dataset;
  if (train.micro_batch_size() == 0 || train.micro_batches_per_step() == 0) {
    return InvalidArgument("stage \"" + job.stage(static_cast<int>(stage.value())).name() +
                           "\": micro_batch_size and micro_batches_per_step are at least 1");
  }
  EMPORIUM_ASSIGN_OR_RETURN(TrainingSamples samples,
                            TrainingSamples::Create(dataset, *columns_.history, job, stage));
  std::vector<uint8_t> labels;
  if (train.has_ranking()) {
    EMPORIUM_ASSIGN_OR_RETURN(
        labels,
        BinaryLabels(dataset, job.data(), static_cast<double>(train.ranking().positive_from())));
  }
  NegativeSampler negatives(
      train.has_ranking() ? train.ranking().negatives() : train.sampled_softmax().negatives(),
      TrainingEvents(dataset, *columns_.history));
  std::vector<bool> wanted = columns_.no_table;
  wanted[columns_.item_table.value()] =
      train.has_sampled_softmax() && negatives.in_batch() && train.sampled_softmax().log_q();
  StagePlan plan = PlanStage(samples.size(), train);
  stages_.emplace(stage.value(), TrainStage{train, plan, std::move(samples), std::move(negatives),
                                            std::move(labels), std::move(wanted)});
  return Status::Ok();
}

StagePlan RetrievalBatches::plan(StageId stage) const {
  const auto it = stages_.find(stage.value());
  return it == stages_.end() ? StagePlan{} : it->second.plan;
}

// The samples of a micro-batch.
std::vector<uint64_t> RetrievalBatches::Pick(StageId stage, Step step, MicroBatch m) const {
  const TrainStage& train = stages_.at(stage.value());
  const MicroBatchSamples picked(train.plan, seed_, stage, train.spec.in_time_order(), step, m);
  std::vector<uint64_t> samples;
  for (uint32_t i = 0; i < picked.size(); ++i) {
    samples.push_back(picked.sample(i));
  }
  return samples;
}

std::vector<int64_t> RetrievalBatches::EventsOf(StageId stage, Step step, MicroBatch m) const {
  const TrainingSamples& samples = stages_.at(stage.value()).samples;
  std::vector<int64_t> events;
  for (const uint64_t sample : Pick(stage, step, m)) {
    const auto [first, last] = samples.rows(sample);
    for (uint64_t row = first; row < last; ++row) {
      events.insert(events.end(), samples.events(row).begin(), samples.events(row).end());
    }
  }
  return events;
}

Result<PlannedBatch> RetrievalBatches::Train(StageId stage, Step step, MicroBatch m) const {
  const TrainStage& train = stages_.at(stage.value());
  Work work{train,
            Pick(stage, step, m),
            {},
            RetrievalAssembler(columns_),
            RandomStream(seed_, Purpose::kNegatives, {stage.value(), step.value(), m.value()}),
            {},
            Interner(4096)};
  const std::span<const double> times = columns_.dataset->event_time();
  uint32_t newest = 0;
  std::vector<int32_t> first_events;
  for (const uint64_t sample : work.samples) {
    const auto [first, last] = train.samples.rows(sample);
    first_events.push_back(train.samples.events(first).front());
    for (uint64_t row = first; row < last; ++row) {
      work.rows.push_back(row);
      if (!times.empty()) {
        const int32_t event = train.samples.events(row).back();
        newest = std::max(newest, PushedTime(times[static_cast<size_t>(event)]));
      }
    }
  }
  FindPositives(&work);
  if (train.spec.has_ranking()) {
    Ranking(&work);
  } else {
    Softmax(&work);
  }
  for (const uint64_t item : work.candidates.values()) {
    work.assembler.batch().candidates.item.push_back(
        work.assembler.Item(static_cast<int32_t>(item)));
  }
  AddHistories(&work);
  for (const std::vector<int32_t>& row : work.positives) {
    for (const int32_t item : row) {
      work.assembler.Sighted(item);
    }
  }
  work.assembler.AddContext(first_events);
  if (columns_.counters != nullptr) {
    LogCounts(&work, !train.spec.has_ranking());
  }
  PlannedBatch planned = std::move(work.assembler).Finish(true, train.wanted_popularity);
  planned.event_time = newest;
  return planned;
}

void RetrievalBatches::AddHistories(Work* work) const {
  const TrainingSamples& samples = work->stage.samples;
  models::Batch& batch = work->assembler.batch();
  for (const uint64_t sample : work->samples) {
    const int32_t begin = batch.history.offset.back();
    work->assembler.AddHistory(samples.history(sample));
    if (!samples.every_position()) {
      continue;
    }
    const auto [first, last] = samples.rows(sample);
    for (uint64_t row = first; row < last; ++row) {
      batch.candidates.event.push_back(begin + samples.entry(row));
    }
  }
}

void RetrievalBatches::FindPositives(Work* work) const {
  const TrainStage& stage = work->stage;
  const bool new_only = stage.spec.sampled_softmax().new_items_only();
  for (const uint64_t row : work->rows) {
    std::vector<int32_t> items;
    for (const int32_t event : stage.samples.events(row)) {
      const auto e = static_cast<size_t>(event);
      const bool had = new_only && columns_.history->Had(stage.samples.reference(row), event);
      if (!had && (stage.labels.empty() || stage.labels[e] != 0)) {
        items.push_back(columns_.dataset->event_item()[e]);
      }
    }
    std::sort(items.begin(), items.end());
    items.erase(std::unique(items.begin(), items.end()), items.end());
    work->positives.push_back(std::move(items));
  }
}

void RetrievalBatches::Softmax(Work* work) const {
  const NegativeSampler& negatives = work->stage.negatives;
  models::CandidateColumns& out = work->assembler.batch().candidates;
  if (negatives.all()) {
    for (int32_t item = 0; item < columns_.dataset->items(); ++item) {
      work->candidates.Index(static_cast<uint64_t>(item));
    }
  }
  out.positive_offset.push_back(0);
  for (const std::vector<int32_t>& row : work->positives) {
    for (const int32_t item : row) {
      out.positive.push_back(work->candidates.Index(static_cast<uint64_t>(item)));
    }
    out.positive_offset.push_back(static_cast<int32_t>(out.positive.size()));
  }
  std::vector<int32_t> drawn;
  negatives.Draw(&work->random, &drawn);
  for (int32_t& item : drawn) {
    item = work->candidates.Index(static_cast<uint64_t>(item));  // from here on: its candidate
  }
  const size_t candidates = work->candidates.size();
  out.sampled.assign(candidates, negatives.all() ? 1 : 0);
  for (const int32_t candidate : drawn) {
    out.sampled[static_cast<size_t>(candidate)] = 1;
  }
  if (negatives.in_batch()) {
    out.in_batch.assign(candidates, 0);
    for (const int32_t candidate : out.positive) {
      out.in_batch[static_cast<size_t>(candidate)] = 1;
      out.sampled[static_cast<size_t>(candidate)] = 1;
    }
    out.in_batch_draws = static_cast<float>(out.positive.size());
  }
  out.drawn = static_cast<float>(negatives.expected_total());
  out.log_q.assign(candidates, 0.0f);
  for (size_t c = 0; c < candidates && negatives.draws(); ++c) {
    if (out.sampled[c] != 0) {
      const auto item = static_cast<int32_t>(work->candidates.values()[c]);
      out.log_q[c] = static_cast<float>(std::log(negatives.Expected(item)));
    }
  }
  out.masked_offset.push_back(0);
  std::vector<size_t> row_of_positive(candidates, SIZE_MAX);
  for (size_t row = 0; row < work->rows.size(); ++row) {
    MaskRow(work, row, &row_of_positive);
  }
}

void RetrievalBatches::MaskRow(Work* work, size_t row, std::vector<size_t>* row_of_positive) const {
  models::CandidateColumns& out = work->assembler.batch().candidates;
  const auto begin = static_cast<size_t>(out.positive_offset[row]);
  const auto end = static_cast<size_t>(out.positive_offset[row + 1]);
  for (size_t p = begin; p < end; ++p) {
    (*row_of_positive)[static_cast<size_t>(out.positive[p])] = row;
    if (end - begin > 1) {
      out.masked.push_back(out.positive[p]);
    }
  }
  if (work->stage.spec.sampled_softmax().mask_history()) {
    const Reference& reference = work->stage.samples.reference(work->rows[row]);
    columns_.history->ForEachPastItem(reference, [&](int32_t item) {
      const int32_t candidate = work->candidates.Find(static_cast<uint64_t>(item));
      if (candidate >= 0 && (*row_of_positive)[static_cast<size_t>(candidate)] != row) {
        out.masked.push_back(candidate);
      }
    });
  }
  out.masked_offset.push_back(static_cast<int32_t>(out.masked.size()));
}

void RetrievalBatches::Ranking(Work* work) const {
  const TrainStage& stage = work->stage;
  models::CandidateColumns& out = work->assembler.batch().candidates;
  out.group_offset.push_back(0);
  for (size_t row = 0; row < work->rows.size(); ++row) {
    const std::vector<int32_t>& positives = work->positives[row];
    std::vector<int32_t> others;
    for (const int32_t event : stage.samples.events(work->rows[row])) {
      const int32_t item = columns_.dataset->event_item()[static_cast<size_t>(event)];
      if (!std::binary_search(positives.begin(), positives.end(), item)) {
        others.push_back(item);
      }
    }
    std::sort(others.begin(), others.end());
    others.erase(std::unique(others.begin(), others.end()), others.end());
    if (others.empty()) {
      DrawForRow(work, row, &others);
    }
    const auto add = [&](int32_t item, float label) {
      out.group.push_back(work->candidates.Index(static_cast<uint64_t>(item)));
      out.group_label.push_back(label);
    };
    for (const int32_t item : positives) {
      add(item, 1);
    }
    for (const int32_t item : others) {
      add(item, 0);
    }
    out.group_offset.push_back(static_cast<int32_t>(out.group.size()));
  }
  out.sampled.assign(work->candidates.size(), 0);
  out.log_q.assign(work->candidates.size(), 0.0f);
  out.positive_offset.assign(work->rows.size() + 1, 0);
  out.masked_offset.assign(work->rows.size() + 1, 0);
}

// Negatives of a row whose group has none: as often as it has positives, without what the user had.
void RetrievalBatches::DrawForRow(Work* work, size_t row, std::vector<int32_t>* negatives) const {
  const NegativeSampler& sampler = work->stage.negatives;
  std::vector<int32_t> drawn;
  for (size_t p = 0; p < work->positives[row].size(); ++p) {
    sampler.Draw(&work->random, &drawn);
  }
  if (sampler.in_batch()) {
    for (const std::vector<int32_t>& other : work->positives) {
      drawn.insert(drawn.end(), other.begin(), other.end());
    }
  }
  for (int32_t item = 0; sampler.all() && item < columns_.dataset->items(); ++item) {
    drawn.push_back(item);
  }
  if (drawn.empty()) {
    return;
  }
  Interner refused;
  for (const int32_t item : work->positives[row]) {
    refused.Index(static_cast<uint64_t>(item));
  }
  columns_.history->ForEachPastItem(
      work->stage.samples.reference(work->rows[row]),
      [&](int32_t item) { refused.Index(static_cast<uint64_t>(item)); });
  for (const int32_t item : drawn) {
    const size_t known = refused.size();
    refused.Index(static_cast<uint64_t>(item));
    if (refused.size() > known) {
      negatives->push_back(item);
    }
  }
}

// Counters as of each row's own reference time. Of a ranking batch only the pairs of its groups are
// filled in; nobody reads the others.
void RetrievalBatches::LogCounts(Work* work, bool every_pair) const {
  const ItemCounters& counters = *columns_.counters;
  models::CandidateColumns& out = work->assembler.batch().candidates;
  const auto k = static_cast<size_t>(counters.count());
  const std::vector<uint64_t>& items = work->candidates.values();
  out.log_counts.assign(work->rows.size() * items.size() * k, 0.0f);
  for (size_t row = 0; row < work->rows.size(); ++row) {
    const double reference = work->stage.samples.reference(work->rows[row]).time;
    float* to = out.log_counts.data() + row * items.size() * k;
    if (!every_pair) {
      for (int32_t g = out.group_offset[row]; g < out.group_offset[row + 1]; ++g) {
        const auto candidate = static_cast<size_t>(out.group[static_cast<size_t>(g)]);
        counters.LogCounts(static_cast<int32_t>(items[candidate]), reference, to + candidate * k);
      }
    } else if (columns_.history->options().midnight() && counters.Keeps()) {
      const auto catalogue = counters.Catalogue(reference);
      for (size_t c = 0; c < items.size(); ++c) {
        std::copy_n(catalogue->data() + items[c] * k, k, to + c * k);
      }
    } else {
      for (size_t c = 0; c < items.size(); ++c) {
        counters.LogCounts(static_cast<int32_t>(items[c]), reference, to + c * k);
      }
    }
  }
}

}  // namespace emporium::worker
