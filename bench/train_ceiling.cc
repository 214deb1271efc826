#include "bench/train_ceiling.h"

#include <chrono>
#include <cmath>
#include <latch>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "bench/ceiling.h"
#include "bench/cpu_time.h"
#include "models/model.h"
#include "worker/key_split.h"
#include "worker/row_source.h"

namespace emporium::bench {
namespace {

using std::chrono::steady_clock;

constexpr int kBatches = 4;  // different ones, so that no lane sees the same samples all the time

struct FixedBatch {
  worker::PlannedBatch planned;
  worker::RowBuffer rows;
};

// A lane of a model's ceiling.
struct ModelLane {
  std::unique_ptr<models::Model> model;
  std::vector<float> values;
  std::vector<float> gradient;
  std::vector<FixedBatch> batches;
  size_t next = 0;
};

Result<FixedBatch> ReadBatch(const spec::Job& job, const worker::BatchSource& source, Step step,
                             MicroBatch m) {
  FixedBatch batch;
  EMPORIUM_ASSIGN_OR_RETURN(batch.planned, source.Train(StageId(0), step, m));
  worker::PrepareRows(batch.planned.tables, worker::TableDims(job), true, &batch.rows);
  for (size_t i = 0; i < batch.planned.tables.size(); ++i) {
    worker::TableKeys& keys = batch.planned.tables[i];
    if (keys.observed.empty()) continue;
    batch.rows.rows[i].observed = keys.observed.data();
    batch.rows.rows[i].observed_mask = keys.observed_mask.data();
  }
  std::mt19937_64 random(step.value());
  std::uniform_real_distribution<float> small(-0.1f, 0.1f);
  for (size_t i = 0; i < batch.rows.rows.size(); ++i) {
    for (float& value : batch.rows.values[i]) value = small(random);
    for (float& count : batch.rows.popularity[i]) count = 1 + std::fabs(small(random));
    batch.rows.rows[i].popularity_total = 1e6;
  }
  worker::FillSlots(batch.rows, batch.planned.slots, &batch.planned.batch);
  return batch;
}

}  // namespace

Result<LaneCeiling::Rate> LaneCeiling::Measure(double seconds) {
  std::vector<Status> statuses(lanes_.size());
  std::vector<double> rates(lanes_.size(), 0);
  std::vector<int64_t> samples(lanes_.size(), 0);
  const double cpu_before = CpuSeconds();
  std::latch ready(static_cast<std::ptrdiff_t>(lanes_.size()));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    threads.emplace_back([this, i, seconds, &statuses, &rates, &samples, &ready] {
      statuses[i] = lanes_[i]();
      samples[i] += samples_;
      ready.arrive_and_wait();
      const auto begin = steady_clock::now();
      int64_t steps = 0;
      double passed = 0;
      while (statuses[i].ok() && passed < seconds) {
        statuses[i] = lanes_[i]();
        ++steps;
        passed = std::chrono::duration<double>(steady_clock::now() - begin).count();
      }
      rates[i] = static_cast<double>(steps * samples_) / passed;
      samples[i] += steps * samples_;
    });
  }
  for (std::thread& thread : threads) thread.join();
  Rate rate;
  int64_t all = 0;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    EMPORIUM_RETURN_IF_ERROR(statuses[i]);
    rate.samples_per_second += rates[i];
    all += samples[i];
  }
  rate.samples_per_cpu_second = static_cast<double>(all) / (CpuSeconds() - cpu_before);
  return rate;
}

LaneCeiling PointwiseCeiling(const spec::Job& job, int64_t fields, int64_t dense_width) {
  const int64_t width = fields * job.table(0).dim() + dense_width;
  const auto& widths = job.model().deepfm().hidden();
  const std::vector<int64_t> hidden(widths.begin(), widths.end());
  const int64_t samples = job.stage(0).train().micro_batch_size();
  std::vector<LaneCeiling::StepFunction> lanes;
  for (uint32_t i = 0; i < job.cluster().lanes(); ++i) {
    // A std::function is copied, so the network is shared with the copies.
    auto ceiling = std::make_shared<Ceiling>(samples, width, hidden);
    lanes.emplace_back([ceiling] {
      const float loss = ceiling->Step();
      return std::isfinite(loss) ? Status::Ok() : Internal("the ceiling's loss is no number");
    });
  }
  return {std::move(lanes), samples};
}

Result<LaneCeiling> ModelCeiling(const spec::Job& job, const worker::BatchSource& source) {
  std::vector<LaneCeiling::StepFunction> lanes;
  for (uint32_t i = 0; i < job.cluster().lanes(); ++i) {
    auto lane = std::make_shared<ModelLane>();  // shared with the copies of the function
    EMPORIUM_ASSIGN_OR_RETURN(lane->model, models::CreateModel(job));
    size_t floats = 0;
    for (const auto& p : lane->model->parameters()) floats += static_cast<size_t>(p.size);
    lane->values.resize(floats);
    lane->gradient.resize(floats);
    lane->model->Initialize(job.seed(), lane->values);
    for (int b = 0; b < kBatches; ++b) {
      EMPORIUM_ASSIGN_OR_RETURN(FixedBatch batch,
                                ReadBatch(job, source, Step(b), MicroBatch(i % 2)));
      lane->batches.push_back(std::move(batch));
    }
    lanes.emplace_back([lane, &job] {
      FixedBatch& batch = lane->batches[lane->next++ % kBatches];
      return lane->model
          ->Train(batch.planned.batch, batch.rows.rows, {lane->values, lane->gradient},
                  job.stage(0).train(), lane->next)
          .status();
    });
  }
  return LaneCeiling(std::move(lanes), job.stage(0).train().micro_batch_size());
}

}  // namespace emporium::bench
