#include "tests/sim/worker_host.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "runtime/control_client.h"
#include "worker/step_norm.h"

namespace emporium::sim {

using control::CommandKind;
using ps::testing::Payload;

namespace {

constexpr size_t kInFlight = 2;
constexpr Micros kResend = 2 * kSecond;
constexpr Micros kBusy = 20 * kMs;
constexpr int kMaxTries = 60;
constexpr Micros kStalePatience = 12 * kSecond;
constexpr int kLooks = 3;

std::string Hex(double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%a", value);
  return text;
}

// What a pull answered by table and key: a row and, where there is one, its popularity.
using Rows = std::map<std::pair<size_t, uint64_t>, std::vector<float>>;

class Hash {
 public:
  void Add(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    value_ = (value_ ^ bits) * 0x100000001b3u;
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xcbf29ce484222325u;
};

}  // namespace

void WorkerHost::BeginLife() {
  GiveUp();
  command_ = {};
  done_sequence_ = 0;
  failure_ = Status::Ok();
  route_.reset();
  highest_begun_.reset();
  stage_begun_ = -1;
  losses_.clear();
  backups_ = worker::Backups(5, 3);
}

control::Registration WorkerHost::MakeRegistration() {
  done_sequence_ = 0;
  failure_ = Status::Ok();
  control::Registration r;
  r.kind = control::NodeKind::WORKER;
  r.lanes = 1;
  r.facts = config_.facts;
  return r;
}

void WorkerHost::GiveUp() {
  ++job_;
  calls_.clear();
  works_.clear();
  plan_.reset();
  fetched_.clear();
}

void WorkerHost::AddToReport(control::Report* report) {
  report->done_sequence = done_sequence_;
  report->error = failure_.ok() ? "" : failure_.message();
  report->error_code = static_cast<int32_t>(failure_.code());
  const bool begun = highest_begun_.has_value() && stage_begun_ == command_.stage;
  report->highest_step = begun ? static_cast<int64_t>(*highest_begun_) : -1;
  report->losses = losses_;
  if (losses_.size() > 50) losses_.erase(losses_.begin(), losses_.end() - 50);
}

void WorkerHost::Take(const control::Command& command) {
  failure_ = Status::Ok();
  if (command.kind == CommandKind::PAUSE && plan_.has_value()) {
    command_ = command;
    plan_->Pause();
    if (plan_->Done()) Finished();
    return;
  }
  GiveUp();
  command_ = command;
  if (command.kind == CommandKind::PAUSE || command.kind == CommandKind::HOLD) return Finished();
  if (!command.route.shard_of_partition.empty()) {
    Result<runtime::Route> route = runtime::RouteFromControl(command.route);
    if (!route.ok()) return Failed(route.status());
    if (!route_.has_value() || route_->version != route->version) highest_begun_.reset();
    route_ = *route;
  }
  looks_ = 0;
  if (command.kind == CommandKind::TRAIN) {
    highest_begun_.reset();
    return BeginSpan();
  }
  if (command.kind == CommandKind::COMBINE) return Combine();
  NextChunk(command.rank);
}

void WorkerHost::Finished() {
  done_sequence_ = command_.sequence;
  ReportSoon();
}

void WorkerHost::Failed(const Status& why) {
  GiveUp();
  // Shards know of a newer route or generation before the worker does: the command will come.
  const bool stale = why.code() == StatusCode::kStale;
  world_.After(this, stale ? kStalePatience : 0, [this, why, job = job_] {
    if (!Valid(job)) return;
    failure_ = why;
    world_.Note(name() + " fails: " + why.ToString());
    if (is_registered()) ReportSoon();
  });
}

// A worker that was taken for dead looks where the others are, and goes on from there.
void WorkerHost::LookAgain(const Status& why) {
  if (why.code() != StatusCode::kStale || ++looks_ >= kLooks) return Failed(why);
  GiveUp();
  BeginSpan();
}

// ---- Calls to shards ---------------------------------------------------------------------------

FrameHeader WorkerHost::Header(FrameType type, uint64_t step) const {
  FrameHeader header;
  header.type = type;
  header.route_version = route_->version;
  header.generation = Generation(static_cast<uint64_t>(command_.generation));
  header.request_id = next_call_;
  header.stage = StageId(static_cast<uint32_t>(command_.stage));
  header.step = emporium::Step(step);
  return header;
}

Payload WorkerHost::PartOf(size_t shard, const Payload& whole) const {
  Payload part(whole.size());
  for (size_t t = 0; t < whole.size(); ++t) {
    part[t].total = whole[t].total;
    const size_t dim = whole[t].keys.empty() ? 0 : whole[t].values.size() / whole[t].keys.size();
    for (size_t i = 0; i < whole[t].keys.size(); ++i) {
      if (route_->ShardOf(whole[t].keys[i]).value() != shard) continue;
      part[t].keys.push_back(whole[t].keys[i]);
      const auto row = whole[t].values.begin() + static_cast<std::ptrdiff_t>(i * dim);
      part[t].values.insert(part[t].values.end(), row, row + static_cast<std::ptrdiff_t>(dim));
      if (!whole[t].counts.empty()) part[t].counts.push_back(whole[t].counts[i]);
    }
  }
  return part;
}

void WorkerHost::Place(Call call) {
  const uint64_t id = next_call_++;
  call.missing = call.frames.size();
  call.answers.resize(call.frames.size());
  const size_t shards = call.frames.size();
  const bool may_die = call.changes;
  calls_.emplace(id, std::move(call));
  for (size_t shard = 0; shard < shards; ++shard) {
    if (may_die && shard > 0 && config_.dies_between()) throw Died();
    Transmit(id, shard, false);
  }
}

void WorkerHost::Transmit(uint64_t id, size_t shard, bool in_full) {
  const auto found = calls_.find(id);
  if (found == calls_.end() || found->second.answers[shard].has_value()) return;
  Call& call = found->second;
  if (++call.tries > kMaxTries * static_cast<int>(call.frames.size())) {
    return EndCall(id, DeadlineExceeded("shard " + std::to_string(shard) + " does not answer"));
  }
  const std::string& endpoint = route_->endpoint_of_shard[shard];
  const Bytes bytes = in_full && !call.in_full.empty() ? call.in_full[shard] : call.frames[shard];
  for (const std::unique_ptr<ServerHost>& server : *config_.servers) {
    if (!server->Has(endpoint)) continue;
    ServerHost* to = server.get();
    const auto reply = [this, id, shard, to](Bytes answer) {
      world_.Send(to, this, [this, id, shard, answer] { Answered(id, shard, answer); });
    };
    const std::string peer = name() + "/" + std::to_string(life()) + "/" + std::to_string(id) +
                             "/" + std::to_string(shard);
    world_.Send(this, to,
                [to, endpoint, peer, bytes, reply] { to->Deliver(endpoint, peer, bytes, reply); });
  }
  world_.After(this, kResend, [this, id, shard] { Transmit(id, shard, true); });
}

void WorkerHost::Answered(uint64_t id, size_t shard, Bytes bytes) {
  const auto found = calls_.find(id);
  if (found == calls_.end() || found->second.answers[shard].has_value()) return;
  ps::testing::Answer answer = ps::testing::Decode(std::move(bytes));
  if (answer.type() == FrameType::kError) {
    const StatusCode code = answer.error();
    if (code == StatusCode::kBusy) {
      world_.After(this, kBusy, [this, id, shard] { Transmit(id, shard, true); });
    } else if (code == StatusCode::kNotFound) {
      Transmit(id, shard, true);
    } else {
      if (code == StatusCode::kStale) ++refused_as_stale_;
      EndCall(id, Status(code, std::string(answer.frame.error_message())));
    }
    return;
  }
  found->second.answers[shard] = std::move(answer);
  if (--found->second.missing == 0) EndCall(id, Status::Ok());
}

void WorkerHost::EndCall(uint64_t id, const Status& status) {
  Call call = std::move(calls_.at(id));
  calls_.erase(id);
  call.done(status, &call);
}

// ---- Training ----------------------------------------------------------------------------------

// Looks where the shards stand.
void WorkerHost::BeginSpan() {
  Call probe;
  for (size_t s = 0; s < route_->shards(); ++s) {
    FrameHeader header = Header(FrameType::kPull, 0);
    header.any_version = true;
    probe.frames.push_back(ps::testing::Encode(header, {}));
  }
  probe.done = [this](const Status& status, Call* call) {
    if (!status.ok()) return Failed(status);
    const StageId stage(static_cast<uint32_t>(command_.stage));
    auto lowest = static_cast<uint64_t>(command_.until_step);
    for (const auto& answer : call->answers) {
      const FrameHeader& at = answer->frame.header();
      if (at.stage > stage) return Failed(Stale("a shard is in a later stage"));
      const uint64_t version = at.stage < stage ? 0 : at.step.value();
      if (version < static_cast<uint64_t>(command_.from_step)) {
        return Failed(Stale("a shard stands before the span"));
      }
      lowest = std::min(lowest, version);
    }
    RunSpan(emporium::Step(lowest));
  };
  Place(std::move(probe));
}

void WorkerHost::RunSpan(emporium::Step version) {
  worker::SpanAssignment assignment;
  assignment.stage = StageId(static_cast<uint32_t>(command_.stage));
  assignment.rank = static_cast<uint32_t>(command_.rank);
  assignment.workers = static_cast<uint32_t>(command_.workers);
  assignment.from = emporium::Step(static_cast<uint64_t>(command_.from_step));
  assignment.until = emporium::Step(static_cast<uint64_t>(command_.until_step));
  plan_.emplace(config_.stages[static_cast<size_t>(command_.stage)], assignment, version,
                config_.clip > 0);
  backups_.Begin(assignment.rank, assignment.workers);
  if (last_look_ < version) looks_ = 0;  // others have gone on meanwhile
  last_look_ = version;
  works_.clear();
  Pump();
}

void WorkerHost::Pump() {
  if (!plan_.has_value()) return;
  if (plan_->Done()) {
    plan_.reset();
    works_.clear();
    return Finished();
  }
  while (works_.size() < kInFlight) {
    const std::optional<worker::MicroBatchId> id = plan_->Next();
    if (!id.has_value()) break;
    Work work;
    work.id = *id;
    if (!id->only_await) {
      const auto t = static_cast<uint64_t>(command_.stage) * 1000 + id->step.value();
      work.payload = ps::testing::MicroBatchOf(t, id->micro_batch.value());
    }
    works_.emplace(next_work_++, std::move(work));
  }
  for (auto& [number, work] : works_) {
    if (work.pulling) continue;
    if (!plan_->MayPull(work.id.step)) break;
    work.pulling = true;
    PullOf(number);
  }
}

void WorkerHost::PullOf(size_t number) {
  const Work& work = works_.at(number);
  Call pull;
  for (size_t s = 0; s < route_->shards(); ++s) {
    FrameHeader header = Header(FrameType::kPull, work.id.step.value());
    if (!work.id.only_await) {
      header.micro_batch = work.id.micro_batch;
      header.micro_batches = work.id.of;
    }
    pull.frames.push_back(
        ps::testing::Encode(header, work.id.only_await ? Payload() : PartOf(s, work.payload)));
  }
  pull.done = [this, number](const Status& status, Call* call) {
    if (!plan_.has_value() || !works_.contains(number)) return;
    const bool backup = works_.at(number).backup;
    if (!status.ok() && backup) {
      works_.erase(number);
      return;
    }
    if (!status.ok()) return LookAgain(status);
    plan_->Answered(works_.at(number).id.step);
    Compute(number, *call);
    NoteWait();
    Pump();
  };
  Place(std::move(pull));
}

// The gradient of a weight: what the micro-batch says, a pull towards zero, and something of all
// that was read, wherever it lives.
void WorkerHost::Compute(size_t number, const Call& call) {
  Work& work = works_.at(number);
  if (!plan_->MayBegin(work.id.step)) return;  // beyond a pause
  if (work.id.only_await) {
    plan_->Acknowledged(work.id.step);
    works_.erase(number);
    return;
  }
  Rows rows;
  for (size_t s = 0; s < call.answers.size(); ++s) {
    const Payload part = PartOf(s, work.payload);
    for (const SectionView& section : call.answers[s]->frame.sections()) {
      const auto& keys = part[section.table.value()].keys;
      for (size_t i = 0; i < keys.size(); ++i) {
        const auto values = section.values.subspan(i * section.dim, section.dim);
        std::vector<float>& row = rows[{section.table.value(), keys[i]}];
        row.assign(values.begin(), values.end());
        if (!section.counts.empty()) row.push_back(section.counts[i]);
      }
    }
  }
  Hash hash;
  double sum = 0;
  for (const auto& [key, row] : rows) {
    for (const float value : row) {
      hash.Add(value);
      sum += value;
    }
  }
  config_.pulled({command_.stage, work.id.step.value(), work.id.micro_batch.value()}, hash.value());
  const auto mean = static_cast<float>(sum / static_cast<double>(rows.size()));
  for (size_t t = 0; t < work.payload.size(); ++t) {
    auto& columns = work.payload[t];
    const size_t dim = columns.keys.empty() ? 0 : columns.values.size() / columns.keys.size();
    for (size_t i = 0; i < columns.keys.size(); ++i) {
      const std::vector<float>& row = rows.at({t, columns.keys[i]});
      for (size_t d = 0; d < dim; ++d) columns.values[i * dim + d] += 0.25f * row[d] + 0.01f * mean;
    }
  }
  world_.After(this, world_.Between(5 * kMs, 60 * kMs), [this, number, job = job_] {
    if (Valid(job)) PushOf(number);
  });
}

void WorkerHost::PushOf(size_t number) {
  if (!plan_.has_value() || !works_.contains(number)) return;
  Work& work = works_.at(number);
  if (!plan_->MayBegin(work.id.step)) return;
  plan_->Begin(work.id.step);
  stage_begun_ = command_.stage;
  highest_begun_ = std::max(highest_begun_.value_or(0), work.id.step.value());
  Call push;
  push.changes = true;
  for (size_t s = 0; s < route_->shards(); ++s) {
    FrameHeader header = Header(FrameType::kPush, work.id.step.value());
    header.micro_batch = work.id.micro_batch;
    header.micro_batches = work.id.of;
    header.awaits_scale = config_.clip > 0;
    header.learning_rate_factor = 1.0f / (1.0f + 0.01f * static_cast<float>(work.id.step.value()));
    const Payload part = PartOf(s, work.payload);
    push.frames.push_back(ps::testing::Encode(header, part, true));
    push.in_full.push_back(ps::testing::Encode(header, part, false));
  }
  push.done = [this, number](const Status& status, Call*) {
    if (!plan_.has_value() || !works_.contains(number)) return;
    const bool backup = works_.at(number).backup;
    if (!status.ok() && backup) {
      works_.erase(number);
      return;
    }
    if (!status.ok()) return LookAgain(status);
    const worker::MicroBatchId id = works_.at(number).id;
    control::MicroBatchLoss loss;
    loss.step = static_cast<int64_t>(id.step.value());
    loss.micro_batch = static_cast<int32_t>(id.micro_batch.value());
    loss.samples = 1;
    loss.terms["loss"] = 1;
    losses_.push_back(loss);
    if (backup) ++backups_computed_;
    const bool last = !backup && plan_->Acknowledged(id.step);
    works_.erase(number);
    NoteWait();
    if (backup) LookWhenDue();
    if (last) AskForSquares(id.step);
    Pump();
  };
  Place(std::move(push));
}

// ---- A step whose gradients are clipped by their norm ------------------------------------------

WorkerHost::Call WorkerHost::StepCall(FrameType type, emporium::Step step,
                                      float gradient_scale) const {
  Call call;
  FrameHeader header = Header(type, step.value());
  header.gradient_scale = gradient_scale;
  for (size_t s = 0; s < route_->shards(); ++s) {
    call.frames.push_back(ps::testing::Encode(header, {}));
  }
  return call;
}

void WorkerHost::AskForSquares(emporium::Step step) {
  Call ask = StepCall(FrameType::kSquares, step, 1);
  ask.done = [this, step](const Status& status, Call* call) {
    if (!plan_.has_value()) return;
    if (!status.ok()) return LookAgain(status);
    SquaresAnswered(step, *call);
  };
  Place(std::move(ask));
}

void WorkerHost::SquaresAnswered(emporium::Step step, const Call& call) {
  std::vector<worker::ShardSquares> shards;
  for (const auto& answer : call.answers) {
    shards.push_back({answer->frame.header().step, answer->frame.squares()});
  }
  const std::optional<double> norm = worker::NormOf(step, shards);
  if (!norm.has_value()) {
    plan_->Applied(step);
    return Pump();
  }
  Call apply = StepCall(FrameType::kApply, step, worker::ClipFactor(*norm, config_.clip));
  apply.changes = true;
  apply.done = [this, step](const Status& status, Call*) {
    if (!plan_.has_value()) return;
    if (!status.ok()) return LookAgain(status);
    plan_->Applied(step);
    Pump();
  };
  Place(std::move(apply));
}

// Only others are waited for: after a while their micro-batches are computed here, too.
void WorkerHost::NoteWait() {
  const auto now = std::chrono::microseconds(world_.now());
  backups_.Reached(plan_->known_version(), now);
  const std::optional<emporium::Step> step = plan_->WaitsForOthers();
  if (!step.has_value() || backups_.Waiting(*step)) return;
  backups_.Waits(*step, now);
  LookWhenDue();
}

void WorkerHost::LookWhenDue() {
  const auto due = backups_.due();
  if (!due.has_value()) return;
  const auto left = std::chrono::ceil<std::chrono::microseconds>(*due).count() - world_.now();
  world_.After(this, std::max<Micros>(left, 0), [this, due, job = job_] {
    if (Valid(job) && plan_.has_value() && backups_.due() == due) LookForBackup();
  });
}

void WorkerHost::LookForBackup() {
  const emporium::Step step = backups_.Look();
  Call probe;
  for (size_t s = 0; s < route_->shards(); ++s) {
    FrameHeader header = Header(FrameType::kPull, 0);
    header.any_version = true;
    probe.frames.push_back(ps::testing::Encode(header, {}));
  }
  probe.done = [this, step](const Status& status, Call* call) {
    if (!plan_.has_value()) return;
    const auto now = std::chrono::microseconds(world_.now());
    if (!status.ok() || !plan_->MayBegin(step)) return backups_.GiveUp(step, now);
    uint32_t lowest = config_.stages[static_cast<size_t>(command_.stage)].MicroBatches(step);
    for (const auto& answer : call->answers) {
      const FrameHeader& at = answer->frame.header();
      if (at.step == step) lowest = std::min(lowest, at.micro_batch.value());
    }
    BackUp(step, lowest);
  };
  Place(std::move(probe));
}

void WorkerHost::BackUp(emporium::Step step, uint32_t lowest) {
  const auto now = std::chrono::microseconds(world_.now());
  Work work;
  work.id.step = step;
  work.id.of = config_.stages[static_cast<size_t>(command_.stage)].MicroBatches(step);
  const std::optional<MicroBatch> chosen = backups_.Choose(step, lowest, work.id.of, now);
  if (!chosen.has_value()) return LookWhenDue();
  work.id.micro_batch = *chosen;
  const auto t = static_cast<uint64_t>(command_.stage) * 1000 + step.value();
  work.payload = ps::testing::MicroBatchOf(t, chosen->value());
  work.pulling = work.backup = true;
  const size_t number = next_work_++;
  works_.emplace(number, std::move(work));
  PullOf(number);
}

// ---- Evaluation --------------------------------------------------------------------------------

// A chunk's result: the sum of some rows, in the order of keys.
void WorkerHost::NextChunk(int64_t chunk) {
  if (chunk >= command_.chunks) return Finished();
  const auto of = static_cast<uint64_t>(7'000 + 100 * command_.stage + chunk);
  Payload asked = ps::testing::MicroBatchOf(of, 0);
  Call pull;
  for (size_t s = 0; s < route_->shards(); ++s) {
    FrameHeader header = Header(FrameType::kPull, 0);
    header.any_version = true;
    pull.frames.push_back(ps::testing::Encode(header, PartOf(s, asked)));
  }
  pull.done = [this, chunk, asked](const Status& status, Call* call) {
    if (!status.ok()) return Failed(status);
    std::map<uint64_t, double> of_key;
    for (size_t s = 0; s < call->answers.size(); ++s) {
      const Payload part = PartOf(s, asked);
      for (const SectionView& section : call->answers[s]->frame.sections()) {
        const auto& keys = part[section.table.value()].keys;
        for (size_t i = 0; i < keys.size(); ++i) {
          for (const float v : section.values.subspan(i * section.dim, section.dim)) {
            of_key[keys[i] + 100'000 * section.table.value()] += v;
          }
        }
      }
    }
    double sum = 0;
    for (const auto& [key, value] : of_key) sum += value;
    world_.Ask<Status>(
        this, &scheduler_, kSecond,
        [this, chunk, text = Hex(sum), me = registered(),
         of = command_](const std::function<void(Status)>& reply) {
          reply(scheduler_.PutChunk(me.node, me.incarnation, of, chunk, text));
        },
        [this, chunk, job = job_](const std::optional<Status>& put) {
          if (!Valid(job)) return;
          if (!put.has_value()) return NextChunk(chunk);
          if (put->ok()) return NextChunk(chunk + command_.workers);
          Failed(*put);
        });
  };
  Place(std::move(pull));
}

void WorkerHost::Combine() {
  using Chunks = Result<std::vector<std::string>>;
  const auto have = static_cast<int64_t>(fetched_.size());
  if (have < command_.chunks) {
    world_.Ask<Chunks>(
        this, &scheduler_, kSecond,
        [this, have, me = registered(), of = command_](const std::function<void(Chunks)>& reply) {
          reply(scheduler_.GetChunks(me.node, me.incarnation, of, have));
        },
        [this, job = job_](std::optional<Chunks> chunks) {
          if (!Valid(job)) return;
          if (chunks.has_value() && !chunks->ok()) return Failed(chunks->status());
          if (chunks.has_value())
            fetched_.insert(fetched_.end(), (**chunks).begin(), (**chunks).end());
          Combine();
        });
    return;
  }
  double metric = 0;
  for (const std::string& text : fetched_) metric += std::strtod(text.c_str(), nullptr);
  world_.Ask<Status>(
      this, &scheduler_, kSecond,
      [this, metric, me = registered(), of = command_](const std::function<void(Status)>& reply) {
        reply(scheduler_.PutMetrics(me.node, me.incarnation, of, metric));
      },
      [this, job = job_](const std::optional<Status>& put) {
        if (!Valid(job)) return;
        if (!put.has_value()) return Combine();
        if (!put->ok()) return Failed(*put);
        Finished();
      });
}

}  // namespace emporium::sim
