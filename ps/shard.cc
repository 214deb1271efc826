#include "ps/shard.h"

#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "proto/check.h"
#include "runtime/route.h"

namespace emporium::ps {
namespace {

// No infinity and no NaN: their exponents are all ones. In blocks of a fixed size, so that the
// compiler makes vector instructions of it.
bool AllFinite(std::span<const float> values) {
  constexpr uint32_t kExponent = 0x7f800000;
  constexpr size_t kBlock = 16;
  size_t i = 0;
  for (; i + kBlock <= values.size(); i += kBlock) {
    uint32_t bits[kBlock];
    std::memcpy(bits, values.data() + i, sizeof(bits));
    uint32_t bad = 0;
    for (size_t k = 0; k < kBlock; ++k) bad |= (bits[k] & kExponent) == kExponent ? 1u : 0u;
    if (bad != 0) return false;
  }
  for (; i < values.size(); ++i) {
    if ((std::bit_cast<uint32_t>(values[i]) & kExponent) == kExponent) return false;
  }
  return true;
}

}  // namespace

Shard::Shard(Config config)
    : config_(std::move(config)),
      owns_(config_.partitions, false),
      barrier_(config_.max_staged_bytes),
      step_rows_(config_.tables.size()),
      previous_total_(config_.tables.size(), 0) {
  for (PartitionId p : config_.owned) owns_.at(p.value()) = true;
  for (size_t i = 0; i < config_.tables.size(); ++i) {
    EMPORIUM_CHECK(config_.tables[i].id.value() == i, "a table's id is its position");
    tables_.push_back(
        std::make_unique<Table>(config_.tables[i], config_.partitions, config_.owned));
  }
}

void Shard::Handle(const PeerId& peer, FrameBytes bytes, std::vector<Send>* out) {
  Result<FrameView> frame = FrameView::Parse(bytes.bytes());
  if (!frame.ok()) {
    // A peer whose header is sound waits for an answer; noise gets none.
    const Result<FrameHeader> header = FrameView::ParseHeader(bytes.bytes());
    if (header.ok()) return Refuse(peer, *header, frame.status(), out);
    ++counters_.refused_frames;
    return;
  }
  const FrameHeader header = frame->header();
  Status status = CheckRoute(header);
  if (status.ok()) status = CheckSections(*frame);
  if (status.ok()) {
    switch (header.type) {
      case FrameType::kPull:
        status = HandlePull(peer, std::move(bytes), std::move(frame).value(), out);
        break;
      case FrameType::kPush:
        status = HandlePush(peer, std::move(bytes), std::move(frame).value(), out);
        break;
      case FrameType::kAssign:
        status = HandleAssign(peer, *frame, out);
        break;
      default:
        status = InvalidArgument("a shard is asked, it takes no answers");
    }
  }
  if (!status.ok()) Refuse(peer, header, status, out);
}

Status Shard::CheckRoute(const FrameHeader& header) const {
  if (header.route_version == config_.route_version) return Status::Ok();
  const std::string message = "shard " + std::to_string(config_.id.value()) + " serves route " +
                              std::to_string(config_.route_version.value()) +
                              ", the request has route " +
                              std::to_string(header.route_version.value());
  return header.route_version < config_.route_version ? Stale(message) : Busy(message);
}

Status Shard::CheckSection(FrameType type, const SectionView& section) const {
  const size_t t = section.table.value();
  if (t >= tables_.size()) {
    return InvalidArgument("no table " + std::to_string(t) + "; the job has " +
                           std::to_string(tables_.size()));
  }
  const TableSettings& settings = config_.tables[t];
  const std::string where = "table " + settings.name + ": ";
  for (uint64_t key : section.keys) {
    if (!owns_[runtime::PartitionOf(key, config_.partitions).value()]) {
      return InvalidArgument(where + "key " + std::to_string(key) + " does not live on shard " +
                             std::to_string(config_.id.value()));
    }
  }
  if ((section.want_popularity || !section.counts.empty()) && !settings.popularity) {
    return InvalidArgument(where + "keeps no popularity");
  }
  if (type == FrameType::kPull) return Status::Ok();
  if (section.rows > 0 && section.dim != settings.dim) {
    return InvalidArgument(where + "rows of width " + std::to_string(section.dim) +
                           ", the job says " + std::to_string(settings.dim));
  }
  if (!AllFinite(section.values) || !AllFinite(section.counts)) {
    return InvalidArgument(where + "values are not finite; is the learning rate too high?");
  }
  for (float count : section.counts) {
    if (count < 0) return InvalidArgument(where + "a count below zero");
  }
  if (section.total < 0) return InvalidArgument(where + "a total below zero");
  return Status::Ok();
}

Status Shard::CheckSections(const FrameView& frame) const {
  const FrameType type = frame.header().type;
  uint64_t answer_bytes = kFrameHeaderBytes;
  for (const SectionView& section : frame.sections()) {
    if (type == FrameType::kPullReply) break;
    EMPORIUM_RETURN_IF_ERROR(CheckSection(type, section));
    const uint64_t dim = config_.tables[section.table.value()].dim;
    answer_bytes += kSectionHeaderBytes + (section.rows * (dim + 1) * sizeof(float)) + 8;
  }
  if (type == FrameType::kPull && answer_bytes > limits::kMaxFrameBytes) {
    return InvalidArgument("the answer would have " + std::to_string(answer_bytes) +
                           " bytes, at most " + std::to_string(limits::kMaxFrameBytes) +
                           "; ask for fewer keys");
  }
  return Status::Ok();
}

Status Shard::EnterStage(const FrameHeader& header, std::vector<Send>* out) {
  if (position_.stage == header.stage) return Status::Ok();
  const bool later = !position_.stage.has_value() || header.stage > *position_.stage;
  if (later && header.step == Step(0) && barrier_.empty()) {
    BeginStage(header.stage, out);
    return Status::Ok();
  }
  const std::string here = position_.stage.has_value()
                               ? "stage " + std::to_string(position_.stage->value()) +
                                     " at version " + std::to_string(position_.version.value())
                               : "no stage";
  return Stale("the request is of stage " + std::to_string(header.stage.value()) + " step " +
               std::to_string(header.step.value()) + ", the shard is in " + here);
}

void Shard::BeginStage(StageId stage, std::vector<Send>* out) {
  RefuseParked("another train stage has begun", out);
  position_.stage = stage;
  position_.version = Step(0);
  barrier_.Reset(Step(0));
  previous_known_ = false;
}

Status Shard::ReadyForCheckpoint(StageId stage, Step step, std::vector<Send>* out) {
  const std::string wanted = "checkpoint of stage " + std::to_string(stage.value()) + " step " +
                             std::to_string(step.value()) + ": shard " +
                             std::to_string(config_.id.value()) + " ";
  if (!barrier_.empty()) {
    return FailedPrecondition(wanted + "has half of a step staged");
  }
  const bool begins = step == Step(0) && (!position_.stage || *position_.stage < stage);
  if (begins) BeginStage(stage, out);
  if (position_.stage != stage || position_.version != step) {
    return FailedPrecondition(wanted + "stands at stage " +
                              (position_.stage ? std::to_string(position_.stage->value()) : "-") +
                              " step " + std::to_string(position_.version.value()));
  }
  return Status::Ok();
}

void Shard::RestorePosition(const Position& position) {
  EMPORIUM_CHECK(parked_.empty() && barrier_.empty(), "a shard is restored before it serves");
  EMPORIUM_CHECK(position.global_step >= position.version.value(), "stages add up");
  position_ = position;
  barrier_.Reset(position.version);
  previous_known_ = false;
}

void Shard::RefuseParked(const std::string& why, std::vector<Send>* out) {
  for (const ParkedPull& pull : parked_) Refuse(pull.peer, pull.frame.header(), Stale(why), out);
  parked_.clear();
  parked_bytes_ = 0;
}

ShardCounters Shard::counters() const {
  ShardCounters counters = counters_;
  counters.staged_bytes = barrier_.staged_bytes();
  counters.parked_pulls = parked_.size();
  return counters;
}

Status Shard::HandlePull(const PeerId& peer, FrameBytes&& bytes, FrameView&& frame,
                         std::vector<Send>* out) {
  const FrameHeader& header = frame.header();
  if (header.any_version) {
    AnswerPull(peer, frame, false, out);
    return Status::Ok();
  }
  EMPORIUM_RETURN_IF_ERROR(EnterStage(header, out));
  if (header.step == position_.version) {
    AnswerPull(peer, frame, false, out);
    return Status::Ok();
  }
  if (header.step.next() == position_.version && previous_known_) {
    AnswerPull(peer, frame, true, out);
    return Status::Ok();
  }
  if (header.step == position_.version.next())
    return Park(peer, std::move(bytes), std::move(frame));
  return Stale("a pull of version " + std::to_string(header.step.value()) +
               ", the shard stands at " + std::to_string(position_.version.value()));
}

Status Shard::Park(const PeerId& peer, FrameBytes&& bytes, FrameView&& frame) {
  const uint64_t size = bytes.bytes().size();
  if (parked_.size() >= config_.max_parked_pulls ||
      parked_bytes_ + size > config_.max_staged_bytes) {
    return Busy(std::to_string(parked_.size()) + " pulls wait already; send it again");
  }
  parked_bytes_ += size;
  parked_.push_back({peer, std::move(bytes), std::move(frame)});
  return Status::Ok();
}

void Shard::AnswerPull(const PeerId& peer, const FrameView& frame, bool previous,
                       std::vector<Send>* out) {
  std::vector<FrameBuilder::Section> sections;
  sections.reserve(frame.sections().size());
  const uint32_t step = position_.global_step - (previous ? 1 : 0);
  for (const SectionView& asked : frame.sections()) {
    const size_t t = asked.table.value();
    const TableSettings& settings = config_.tables[t];
    double total = 0;
    if (settings.popularity) {
      total = previous ? previous_total_[t] : tables_[t]->popularity_total(step);
    }
    sections.push_back({.table = asked.table,
                        .keys = 0,
                        .rows = asked.rows,
                        .dim = settings.dim,
                        .want_popularity = false,
                        .has_counts = asked.want_popularity,
                        .total = total});
  }
  FrameHeader header = frame.header();
  header.type = FrameType::kPullReply;
  header.any_version = false;
  header.route_version = config_.route_version;
  header.stage = position_.stage.value_or(StageId(0));
  header.step = position_.version;
  FrameBuilder builder(header, sections);
  for (size_t i = 0; i < sections.size(); ++i) {
    const SectionView& asked = frame.sections()[i];
    const Table& table = *tables_[asked.table.value()];
    const FrameBuilder::Parts parts = builder.part(i);
    slots_.resize(asked.keys.size());
    table.Find(asked.keys, slots_);
    if (previous) {
      step_rows_[asked.table.value()].ReadPrevious(table, asked.keys, slots_, step, parts.values,
                                                   parts.counts);
    } else {
      table.Read(asked.keys, slots_, step, parts.values, parts.counts);
    }
    counters_.rows_pulled += asked.rows;
  }
  out->push_back({peer, std::move(builder).Finish()});
  ++counters_.pulls;
  counters_.bytes_pulled += out->back().bytes.size();
}

Status Shard::HandlePush(const PeerId& peer, FrameBytes&& bytes, FrameView&& frame,
                         std::vector<Send>* out) {
  const FrameHeader header = frame.header();
  EMPORIUM_RETURN_IF_ERROR(EnterStage(header, out));
  if (header.step > position_.version.next()) {
    return Stale("a push of step " + std::to_string(header.step.value()) +
                 ", the shard stands at " + std::to_string(position_.version.value()));
  }
  Barrier::Outcome outcome = Barrier::Outcome::kKnown;  // a step that has been applied
  const uint64_t size = bytes.bytes().size();
  uint64_t rows = 0;
  for (const SectionView& section : frame.sections()) rows += section.rows;
  if (header.step >= position_.version) {
    EMPORIUM_ASSIGN_OR_RETURN(outcome, barrier_.Stage({std::move(bytes), std::move(frame)}));
  }
  Acknowledge(peer, header, out);
  if (outcome == Barrier::Outcome::kKnown) {
    ++counters_.duplicate_pushes;
    return Status::Ok();
  }
  ++counters_.pushes;
  counters_.rows_pushed += rows;
  counters_.bytes_pushed += size;
  while (barrier_.complete()) ApplyStep(out);
  return Status::Ok();
}

Status Shard::HandleAssign(const PeerId& peer, const FrameView& frame, std::vector<Send>* out) {
  for (const SectionView& section : frame.sections()) {
    Table& table = *tables_[section.table.value()];
    for (size_t i = 0; i < section.keys.size(); ++i) {
      table.Assign(section.keys[i], section.values.subspan(i * section.dim, section.dim));
    }
  }
  ++counters_.assigns;
  Acknowledge(peer, frame.header(), out);
  return Status::Ok();
}

void Shard::Acknowledge(const PeerId& peer, const FrameHeader& header, std::vector<Send>* out) {
  out->push_back({peer, EncodeAck(header, config_.route_version, position_.version)});
}

void Shard::Refuse(const PeerId& peer, const FrameHeader& header, const Status& why,
                   std::vector<Send>* out) {
  if (why.code() == StatusCode::kStale) {
    ++counters_.stale_frames;
  } else if (why.code() == StatusCode::kBusy) {
    ++counters_.busy_frames;
  } else {
    ++counters_.refused_frames;
  }
  // An answer is never answered, or two programs could go on for ever.
  if (header.type != FrameType::kPull && header.type != FrameType::kPush &&
      header.type != FrameType::kAssign) {
    return;
  }
  out->push_back({peer, EncodeError(header, config_.route_version, position_.version, why)});
}

void Shard::ApplyStep(std::vector<Send>* out) {
  EMPORIUM_CHECK(position_.global_step < std::numeric_limits<uint32_t>::max(),
                 "rows count steps in 32 bits");
  const std::vector<StagedPush> pushes = barrier_.Take();
  for (size_t i = 0; i < tables_.size(); ++i) ApplyTable(i, pushes);
  position_.version = position_.version.next();
  ++position_.global_step;
  EMPORIUM_CHECK(barrier_.step() == position_.version, "barrier and version go together");
  previous_known_ = true;
  ++counters_.steps_applied;
  std::vector<ParkedPull> parked = std::exchange(parked_, {});
  parked_bytes_ = 0;
  for (const ParkedPull& pull : parked) AnswerPull(pull.peer, pull.frame, false, out);
}

void Shard::ApplyTable(size_t i, const std::vector<StagedPush>& pushes) {
  Table& table = *tables_[i];
  StepRows& rows = step_rows_[i];
  std::vector<const SectionView*> sections;
  uint64_t keys = 0;
  double total = 0;
  for (const StagedPush& push : pushes) {
    for (const SectionView& section : push.frame.sections()) {
      if (section.table.value() != i) continue;
      sections.push_back(&section);
      keys += section.keys.size();
      total += section.total;
    }
  }
  rows.Begin(keys, config_.tables[i].dim, config_.tables[i].popularity);
  for (const SectionView* section : sections) rows.Add(table, *section);
  const uint32_t before = position_.global_step;
  rows.Apply(table, before + 1, pushes.front().frame.header().learning_rate_factor);
  if (config_.tables[i].popularity) {
    previous_total_[i] = table.popularity_total(before);
    table.AddToTotal(total, before + 1);
  }
  counters_.rows_updated += rows.rows();
}

}  // namespace emporium::ps
