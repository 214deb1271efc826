#include "tests/worker/train_fakes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "worker/learning_rate.h"

namespace emporium::worker {

spec::Job TinyJob() {
  spec::Job job;
  job.set_name("tiny");
  job.set_seed(11);
  for (const uint32_t dim : {4u, 2u}) {
    spec::Table* table = job.add_table();
    table->set_name("t" + std::to_string(dim));
    table->set_dim(dim);
    table->mutable_optimizer()->mutable_sgd();
  }
  job.mutable_table(0)->mutable_popularity();
  spec::DenseGroup* bias = job.add_dense();
  bias->set_name("biases");
  bias->add_parameter("bias");
  bias->set_chunk_floats(2);
  spec::DenseGroup* rest = job.add_dense();
  rest->set_name("rest");
  rest->set_chunk_floats(8);
  for (const char* name : {"first", "second"}) {
    spec::Stage* stage = job.add_stage();
    stage->set_name(name);
    spec::Train* train = stage->mutable_train();
    train->mutable_pointwise();
    train->set_epochs(2);
    train->set_micro_batch_size(4);
    train->set_micro_batches_per_step(3);
    train->mutable_learning_rate()->set_warm_up_steps(2);
    train->mutable_learning_rate()->set_schedule(spec::LearningRate::LINEAR);
  }
  job.add_stage()->set_name("evaluate");
  job.mutable_stage(2)->mutable_evaluate();
  job.add_stage()->set_name("export");
  job.mutable_stage(3)->mutable_export_();
  return job;
}

// -- Model
// -----------------------------------------------------------------------------------------

TinyModel::TinyModel() {
  // Sizes that end inside a chunk; the bias lies between the weights.
  parameters_ = {{"weight.a", {4}, 4, false},
                 {"bias", {1}, 1, false},
                 {"weight.b", {2}, 2, false},
                 {"filler", {19}, 19, false}};
}

void TinyModel::Initialize(uint64_t seed, std::span<float> values) const {
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = 0.1f + static_cast<float>(runtime::MixKey(seed + i) % 1000) / 4000.0f;
  }
}

Result<std::vector<models::LossTerm>> TinyModel::Train(const models::Batch& batch,
                                                       const models::RowSet& rows,
                                                       const models::DenseSet& dense,
                                                       const spec::Train&, uint64_t random_seed) {
  for (const models::TableRows& table : rows) {
    std::fill_n(table.gradient, size_t(table.rows) * table.dim, 0.0f);
  }
  const size_t weight_at[] = {0, 5};
  const float noise = static_cast<float>(random_seed % 1024) / 1024.0f;
  double loss = 0;
  for (int32_t b = 0; b < batch.samples; ++b) {
    float logit = dense.values[4];
    for (size_t f = 0; f < batch.fields.size(); ++f) {
      const models::TableRows& table = rows[f];
      const float* row = table.values + size_t(batch.fields[f].rows.index[b]) * table.dim;
      for (int32_t d = 0; d < table.dim; ++d) logit += row[d] * dense.values[weight_at[f] + d];
    }
    const float error =
        (logit - batch.label[b] + 0.01f * noise) / static_cast<float>(batch.samples);
    loss += 0.5 * error * error;
    dense.gradient[4] += error;
    for (size_t f = 0; f < batch.fields.size(); ++f) {
      const models::TableRows& table = rows[f];
      const size_t at = size_t(batch.fields[f].rows.index[b]) * table.dim;
      for (int32_t d = 0; d < table.dim; ++d) {
        dense.gradient[weight_at[f] + d] += error * table.values[at + d];
        table.gradient[at + d] += error * dense.values[weight_at[f] + d];
      }
    }
  }
  for (size_t i = 7; i < dense.values.size(); ++i) {
    dense.gradient[i] = 0.01f * noise * static_cast<float>(i);
  }
  return std::vector<models::LossTerm>{{"loss", loss, batch.samples}};
}

// -- Source
// ----------------------------------------------------------------------------------------

TinySource::TinySource(uint64_t samples) : samples_(samples), dataset_({}) {}

StagePlan TinySource::plan(StageId) const {
  StagePlan plan;
  plan.samples = samples_;
  plan.micro_batch_size = 4;
  plan.micro_batches_per_step = 3;
  plan.steps_per_epoch = (samples_ + 11) / 12;
  plan.total_steps = 2 * plan.steps_per_epoch;
  return plan;
}

Result<PlannedBatch> TinySource::Train(StageId stage, Step step, MicroBatch m) const {
  if (on_train) EMPORIUM_RETURN_IF_ERROR(on_train(step, m));
  const StagePlan plan = this->plan(stage);
  const uint64_t first = (step.value() % plan.steps_per_epoch) * 12 + m.value() * 4;
  PlannedBatch planned;
  models::Batch& batch = planned.batch;
  batch.samples = static_cast<int32_t>(std::min<uint64_t>(4, samples_ - first));
  uint64_t random = RandomSeed(99, stage, step, m);
  for (int32_t b = 0; b < batch.samples; ++b) {
    random = runtime::MixKey(random + 1);
    batch.label.push_back(random % 2 == 0 ? 1.0f : 0.0f);
  }
  // Every third micro-batch has no row of the table that counts.
  for (uint16_t t = (step.value() + m.value()) % 3 == 2 ? 1 : 0; t < 2; ++t) {
    TableKeys keys;
    keys.table = TableId(t);
    keys.want_popularity = t == 0;
    std::map<uint64_t, int32_t> number;
    models::FieldColumn field;
    field.rows.table = keys.table;
    for (int32_t b = 0; b < batch.samples; ++b) {
      random = runtime::MixKey(random + 1);
      const uint64_t key = random % 9;
      const auto [it, is_new] = number.try_emplace(key, static_cast<int32_t>(keys.keys.size()));
      if (is_new) {
        keys.keys.push_back(key);
        if (t == 0) keys.counts.push_back(0);
      }
      if (t == 0) ++keys.counts[it->second];
      field.rows.index.push_back(it->second);
    }
    batch.fields.push_back(std::move(field));
    planned.tables.push_back(std::move(keys));
  }
  return planned;
}

// -- Shard
// -----------------------------------------------------------------------------------------

std::vector<float> InitialRow(size_t table, uint64_t key, uint32_t dim) {
  std::vector<float> row(dim);
  for (uint32_t d = 0; d < dim; ++d) {
    row[d] = static_cast<float>(runtime::MixKey(key * 31 + table * 7 + d) % 1000) / 1000.0f - 0.5f;
  }
  return row;
}

void TinyUpdate(const float* gradient, float factor, std::vector<float>* row) {
  for (size_t d = 0; d < row->size(); ++d) (*row)[d] -= 0.3f * factor * gradient[d];
}

StubShard::StubShard(runtime::Context& context, std::string endpoint, std::vector<uint32_t> dims)
    : dims_(std::move(dims)) {
  state_.tables.resize(dims_.size());
  state_.totals.resize(dims_.size());
  before_.resize(dims_.size());
  initial_.resize(dims_.size());
  std::promise<void> ready;
  thread_ = std::thread([&, this] {
    auto bound = runtime::ServerSocket::Bind(context, endpoint);
    EMPORIUM_CHECK(bound.ok(), bound.status().message().c_str());
    socket_ = std::move(bound).value();
    endpoint_ = socket_->endpoint();
    waker_ = socket_->waker();
    ready.set_value();
    Run();
  });
  ready.get_future().get();
}

StubShard::~StubShard() {
  {
    runtime::MutexLock lock(mutex_);
    stop_ = true;
  }
  waker_.Wake();
  thread_.join();
}

void StubShard::set_intercept(std::function<Status(const FrameHeader&)> intercept) {
  runtime::MutexLock lock(mutex_);
  intercept_ = std::move(intercept);
}

StubShard::State StubShard::state() const {
  runtime::MutexLock lock(mutex_);
  return state_;
}

void StubShard::set_version(StageId stage, Step version) {
  runtime::MutexLock lock(mutex_);
  state_.stage = stage;
  state_.version = version;
}

void StubShard::Run() {
  while (true) {
    {
      runtime::MutexLock lock(mutex_);
      if (stop_) break;
    }
    std::string peer;
    runtime::Message message;
    if (!socket_->Receive(peer, message, -1)) continue;
    Handle(peer, {message.bytes().begin(), message.bytes().end()});
  }
  socket_.reset();
}

void StubShard::Handle(const std::string& peer, const Bytes& bytes) {
  auto parsed = FrameView::Parse(bytes);
  EMPORIUM_CHECK(parsed.ok(), parsed.status().message().c_str());
  const FrameView& frame = *parsed;
  const FrameHeader& header = frame.header();
  runtime::MutexLock lock(mutex_);
  ++state_.frames;
  if (intercept_) {
    const Status status = intercept_(header);
    if (status.code() == StatusCode::kInternal && status.message().empty()) return;
    if (!status.ok()) {
      return socket_->Send(peer, EncodeError(header, header.route_version, state_.version, status));
    }
  }
  if (header.type == FrameType::kPull) return HandlePull(peer, frame, bytes);
  if (header.type == FrameType::kSquares) {
    asking_.push_back({peer, bytes});
    return TellSquares();
  }
  if (header.type == FrameType::kApply && header.step == state_.version) {
    EMPORIUM_CHECK(StepComplete() && AwaitsScale(), "only what is complete is applied");
    Apply(header.gradient_scale);
  }
  const int64_t duplicates = state_.duplicates;
  if (header.type == FrameType::kPush) {
    const Status status = HandlePush(frame, bytes);
    if (!status.ok()) {
      return socket_->Send(peer, EncodeError(header, header.route_version, state_.version, status));
    }
  }
  if (header.type == FrameType::kAssign) {
    for (const SectionView& s : frame.sections()) {
      for (size_t i = 0; i < s.keys.size(); ++i) {
        state_.tables[s.table.value()].try_emplace(s.keys[i], s.values.begin() + i * s.dim,
                                                   s.values.begin() + (i + 1) * s.dim);
      }
    }
  }
  FrameHeader answered = header;
  if (state_.duplicates > duplicates) answered.micro_batches = 0;
  socket_->Send(peer, EncodeAck(answered, header.route_version, state_.version));
  Advance();
}

void StubShard::Advance() {
  while (StepComplete() && !AwaitsScale()) Apply(1);
  TellSquares();
}

bool StubShard::AwaitsScale() const {
  return FrameView::Parse(staged_.begin()->second)->header().awaits_scale;
}

// Squares of each row in double precision, added up without rounding, as a shard's are.
ExactSum SquaresOf(const std::vector<TableValues>& sums) {
  ExactSum squares;
  for (const TableValues& table : sums) {
    for (const auto& [key, sum] : table) {
      double of_row = 0;
      for (const float g : sum) of_row += double{g} * g;
      squares.Add(of_row);
    }
  }
  return squares;
}

void StubShard::TellSquares() {
  for (const Parked& parked : std::exchange(asking_, {})) {
    const FrameHeader header = FrameView::ParseHeader(parked.bytes).value();
    EMPORIUM_CHECK(header.step <= state_.version, "nobody computes ahead");
    const bool present = header.step == state_.version;
    if (present && !StepComplete()) {
      asking_.push_back(parked);
      continue;
    }
    ExactSum squares;
    if (present) squares = SquaresOf(Sums());
    if (header.step.next() == state_.version) squares = squares_;
    socket_->Send(parked.peer,
                  EncodeSquares(header, header.route_version, state_.version, squares));
  }
}

bool StubShard::StepComplete() const {
  if (staged_.empty()) return false;
  const auto frame = FrameView::Parse(staged_.begin()->second);
  return staged_.size() == frame->header().micro_batches;
}

void StubShard::HandlePull(const std::string& peer, const FrameView& frame, const Bytes& bytes) {
  const FrameHeader& header = frame.header();
  if (!header.any_version && header.stage > state_.stage && header.step == Step(0)) {
    state_.stage = header.stage;
    state_.version = Step(0);
  }
  const bool here = header.step == state_.version || header.step.next() == state_.version;
  if (header.any_version || (header.stage == state_.stage && here)) {
    const bool kept = header.step == state_.version && header.micro_batches > 0 &&
                      (header.step.value() + header.micro_batch.value()) % 3 != 0;
    if (!header.any_version && kept) pulled_[header.micro_batch.value()] = bytes;
    return Answer(peer, frame);
  }
  if (header.stage == state_.stage && header.step == state_.version.next()) {
    parked_.push_back({peer, bytes});
    return;
  }
  socket_->Send(peer, EncodeError(header, header.route_version, state_.version,
                                  Stale("not at " + std::to_string(header.step.value()))));
}

Status StubShard::HandlePush(const FrameView& frame, const Bytes& bytes) {
  const FrameHeader& header = frame.header();
  EMPORIUM_CHECK(header.step <= state_.version, "nobody computes ahead");
  if (header.step < state_.version || staged_.count(header.micro_batch.value()) > 0) {
    ++state_.duplicates;
    return Status::Ok();
  }
  for (const SectionView& s : frame.sections()) {
    const std::vector<uint64_t> keys = KeysOf(header.micro_batch.value(), s);
    if (keys.size() != s.rows) return NotFound("keys that are not known here");
    EMPORIUM_CHECK(!s.known_keys || HashOfKeys(keys) == s.keys_hash, "the keys of the pull");
  }
  staged_.emplace(header.micro_batch.value(), bytes);
  return Status::Ok();
}

std::vector<uint64_t> StubShard::KeysOf(uint32_t m, const SectionView& section) {
  if (!section.known_keys) return {section.keys.begin(), section.keys.end()};
  const auto pulled = pulled_.find(m);
  if (pulled == pulled_.end()) return {};
  const auto frame = FrameView::Parse(pulled->second);
  for (const SectionView& asked : frame->sections()) {
    if (asked.table == section.table) return {asked.keys.begin(), asked.keys.end()};
  }
  return {};
}

const std::vector<float>& StubShard::Row(size_t table, uint64_t key, bool previous) {
  if (previous) {
    const auto before = before_[table].find(key);
    if (before != before_[table].end()) return before->second;
  }
  const auto row = state_.tables[table].find(key);
  if (row != state_.tables[table].end()) return row->second;
  return initial_[table].try_emplace(key, InitialRow(table, key, dims_[table])).first->second;
}

void StubShard::Answer(const std::string& peer, const FrameView& frame) {
  FrameHeader header = frame.header();
  const bool previous = !header.any_version && header.step.next() == state_.version;
  std::vector<FrameBuilder::Section> sections;
  for (const SectionView& s : frame.sections()) {
    sections.push_back({s.table, 0, s.rows, dims_[s.table.value()], false, s.want_popularity,
                        s.want_popularity ? 100.0 : 0.0});
  }
  header.type = FrameType::kPullReply;
  uint32_t lowest_missing = 0;
  while (staged_.contains(lowest_missing)) ++lowest_missing;
  if (std::exchange(header.any_version, false)) header.micro_batch = MicroBatch(lowest_missing);
  header.stage = state_.stage;
  header.step = state_.version;
  FrameBuilder builder(header, sections);
  for (size_t i = 0; i < sections.size(); ++i) {
    const SectionView& asked = frame.sections()[i];
    const auto parts = builder.part(i);
    for (size_t k = 0; k < asked.keys.size(); ++k) {
      const auto& row = Row(asked.table.value(), asked.keys[k], previous);
      std::copy(row.begin(), row.end(), parts.values.begin() + k * row.size());
      if (asked.want_popularity) parts.counts[k] = static_cast<float>(asked.keys[k] % 100);
    }
  }
  socket_->Send(peer, std::move(builder).Finish());
}

std::vector<TableValues> StubShard::Sums() {
  std::vector<TableValues> sums(dims_.size());
  for (const auto& [m, staged] : staged_) {
    const auto frame = FrameView::Parse(staged);
    for (const SectionView& s : frame->sections()) {
      const std::vector<uint64_t> keys = KeysOf(m, s);
      for (size_t k = 0; k < keys.size(); ++k) {
        auto& sum = sums[s.table.value()].try_emplace(keys[k], s.dim).first->second;
        for (size_t d = 0; d < s.dim; ++d) sum[d] += s.values[k * s.dim + d];
      }
    }
  }
  return sums;
}

void StubShard::Apply(float scale) {
  std::vector<TableValues> sums = Sums();
  squares_ = SquaresOf(sums);
  if (scale < 1) ++state_.scaled;
  float factor = 0;
  for (const auto& [m, staged] : staged_) {
    const auto frame = FrameView::Parse(staged);
    factor = frame->header().learning_rate_factor;
    bool counts = false;
    for (const SectionView& s : frame->sections()) {
      counts |= s.table == TableId(0);
      state_.totals[s.table.value()] += s.total;
    }
    EMPORIUM_CHECK(counts, "a push holds a section for every table that counts");
  }
  for (size_t t = 0; t < dims_.size(); ++t) {
    before_[t].clear();
    for (auto& [key, sum] : sums[t]) {
      const std::vector<float> row = Row(t, key, false);
      before_[t][key] = row;
      for (float& g : sum) g *= scale;
      TinyUpdate(sum.data(), factor, &(state_.tables[t][key] = row));
    }
  }
  staged_.clear();
  pulled_.clear();
  state_.version = state_.version.next();
  for (const Parked& parked : std::exchange(parked_, {})) {
    const auto frame = FrameView::Parse(parked.bytes);
    HandlePull(parked.peer, *frame, parked.bytes);
  }
}

// -- Cluster
// ---------------------------------------------------------------------------------------

StubCluster::StubCluster(runtime::Context& context, const spec::Job& job, uint32_t shards) {
  static std::atomic<int> clusters = 0;
  const int number = clusters++;
  auto route = std::make_shared<runtime::Route>();
  route->version = RouteVersion(1);
  route->shard_of_partition = runtime::EvenAssignment(16, shards);
  for (uint32_t s = 0; s < shards; ++s) {
    // One over TCP, the others inside the process.
    const std::string endpoint =
        s == 1 ? "tcp://127.0.0.1:0"
               : "inproc://stub" + std::to_string(number) + "." + std::to_string(s);
    shards_.push_back(std::make_unique<StubShard>(context, endpoint, TableDims(job)));
    route->endpoint_of_shard.push_back(shards_.back()->endpoint());
  }
  route_ = std::move(route);
}

std::vector<TableValues> StubCluster::Rows() const {
  std::vector<TableValues> rows;
  for (const auto& shard : shards_) {
    StubShard::State state = shard->state();
    rows.resize(state.tables.size());
    for (size_t t = 0; t < rows.size(); ++t) rows[t].merge(state.tables[t]);
  }
  return rows;
}

// -- The plain loop
// --------------------------------------------------------------------------------

void TrainPlainly(const spec::Job& job, const TinySource& source, StageId stage, Step until,
                  std::vector<TableValues>* rows) {
  const auto dims = TableDims(job);
  rows->resize(dims.size());
  TinyModel model;
  const DenseLayout layout = DenseLayout::Make(job, model.parameters()).value();
  std::vector<float> flat(layout.floats());
  model.Initialize(job.seed(), flat);
  for (size_t i = 0; i < layout.tables().size(); ++i) {
    const TableKeys& table = layout.tables()[i];
    const uint32_t dim = layout.chunk_floats(i);
    std::vector<float> chunks(table.keys.size() * dim);
    layout.FlatToRows(i, flat, chunks);
    for (size_t k = 0; k < table.keys.size(); ++k) {
      (*rows)[table.table.value()].try_emplace(table.keys[k], chunks.begin() + k * dim,
                                               chunks.begin() + (k + 1) * dim);
    }
  }
  const spec::Train& train = job.stage(static_cast<int>(stage.value())).train();
  const StagePlan plan = source.plan(stage);
  const auto row_of = [&](size_t t, uint64_t key) -> std::vector<float>& {
    return (*rows)[t].try_emplace(key, InitialRow(t, key, dims[t])).first->second;
  };
  for (Step step(0); step < until; step = step.next()) {
    std::vector<TableValues> sums(dims.size());
    for (uint32_t m = 0; m < plan.MicroBatches(step); ++m) {
      PlannedBatch planned = source.Train(stage, step, MicroBatch(m)).value();
      RowBuffer buffer;
      PrepareRows(planned.tables, dims, true, &buffer);
      for (size_t i = 0; i < planned.tables.size(); ++i) {
        const size_t t = planned.tables[i].table.value();
        for (size_t k = 0; k < planned.tables[i].keys.size(); ++k) {
          const auto found = (*rows)[t].find(planned.tables[i].keys[k]);
          const auto row = found != (*rows)[t].end()
                               ? found->second
                               : InitialRow(t, planned.tables[i].keys[k], dims[t]);
          std::copy(row.begin(), row.end(), buffer.values[i].begin() + k * dims[t]);
        }
      }
      std::vector<float> gradient(layout.floats());
      for (size_t i = 0; i < layout.tables().size(); ++i) {
        std::vector<float> chunks;
        for (const uint64_t key : layout.tables()[i].keys) {
          const auto& row = row_of(layout.tables()[i].table.value(), key);
          chunks.insert(chunks.end(), row.begin(), row.end());
        }
        layout.RowsToFlat(i, chunks, flat);
      }
      const auto loss = model.Train(planned.batch, buffer.rows, {flat, gradient}, train,
                                    RandomSeed(job.seed(), stage, step, MicroBatch(m)));
      EMPORIUM_CHECK(loss.ok(), "the tiny model trains");
      const float scale = static_cast<float>(static_cast<double>(planned.batch.samples) /
                                             static_cast<double>(SamplesOfStep(plan, step)));
      const auto add = [&](size_t t, uint64_t key, const float* g) {
        auto& sum = sums[t].try_emplace(key, dims[t]).first->second;
        for (size_t d = 0; d < dims[t]; ++d) sum[d] += g[d] * scale;
      };
      for (size_t i = 0; i < planned.tables.size(); ++i) {
        const size_t t = planned.tables[i].table.value();
        for (size_t k = 0; k < planned.tables[i].keys.size(); ++k) {
          add(t, planned.tables[i].keys[k], buffer.gradients[i].data() + k * dims[t]);
        }
      }
      for (size_t i = 0; i < layout.tables().size(); ++i) {
        const size_t t = layout.tables()[i].table.value();
        std::vector<float> chunks(layout.tables()[i].keys.size() * dims[t]);
        layout.FlatToRows(i, gradient, chunks);
        for (size_t k = 0; k < layout.tables()[i].keys.size(); ++k) {
          add(t, layout.tables()[i].keys[k], chunks.data() + k * dims[t]);
        }
      }
    }
    const float factor = LearningRateFactor(train.learning_rate(), step, plan.total_steps);
    if (train.clip_global_norm() > 0) {
      long double squares = 0;
      for (const TableValues& table : sums) {
        for (const auto& [key, sum] : table) {
          for (const float g : sum) squares += static_cast<long double>(g) * g;
        }
      }
      const auto norm = static_cast<double>(std::sqrt(squares));
      for (TableValues& table : sums) {
        for (auto& [key, sum] : table) {
          for (float& g : sum) {
            if (norm > train.clip_global_norm()) {
              g *= static_cast<float>(train.clip_global_norm() / norm);
            }
          }
        }
      }
    }
    for (size_t t = 0; t < dims.size(); ++t) {
      for (const auto& [key, sum] : sums[t]) TinyUpdate(sum.data(), factor, &row_of(t, key));
    }
  }
}

}  // namespace emporium::worker
