#include "ps/shard.h"

#include <algorithm>
#include <utility>

#include "proto/check.h"
#include "proto/planted_bug.h"

namespace emporium::ps {
namespace {

bool LeavesKeysOut(const FrameView& frame) {
  const std::vector<SectionView>& sections = frame.sections();
  return std::any_of(sections.begin(), sections.end(),
                     [](const SectionView& section) { return section.known_keys; });
}

Status UnknownKeys(const FrameHeader& header) {
  return NotFound("the keys of step " + std::to_string(header.step.value()) + ", micro-batch " +
                  std::to_string(header.micro_batch.value()) +
                  " are not known here; send them with the gradients");
}

}  // namespace

Shard::Shard(Config config)
    : config_(std::move(config)),
      owns_(config_.partitions, false),
      generation_(config_.generation),
      barrier_(config_.max_staged_bytes),
      memory_(config_.max_staged_bytes),
      retention_(config_.tables.size()) {
  for (PartitionId p : config_.owned) owns_.at(p.value()) = true;
  for (size_t i = 0; i < config_.tables.size(); ++i) {
    EMPORIUM_CHECK(config_.tables[i].id.value() == i, "a table's id is its position");
    tables_.push_back(std::make_unique<Table>(config_.tables[i], config_.partitions, config_.owned,
                                              config_.page_ahead));
    if (config_.follow_changes) tables_[i]->FollowChanges();
    step_rows_.emplace_back(config_.tables[i]);
    added_totals_.push_back(tables_[i]->totals(0));
  }
  previous_totals_ = added_totals_;
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
  Status status = CheckSender(header);
  if (status.ok()) status = CheckSections(*frame);
  if (status.ok()) {
    generation_ = header.generation;
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
      case FrameType::kSquares:
        status = HandleSquares(peer, header, out);
        break;
      case FrameType::kApply:
        status = HandleApply(peer, header, out);
        break;
      default:
        status = InvalidArgument("a shard is asked, it takes no answers");
    }
  }
  if (!status.ok()) Refuse(peer, header, status, out);
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
  expired_.reset();
  barrier_.Reset(Step(0));
  previous_squares_.reset();
  ForgetSlots();
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
  EMPORIUM_CHECK(parked_.empty() && asking_.empty() && barrier_.empty(),
                 "a shard is restored before it serves");
  EMPORIUM_CHECK(position.global_step >= position.version.value(), "stages add up");
  position_ = position;
  if (Planted(PlantedBug::kRestoresPositionAlone) && position_.version > Step(0)) {
    position_.version = Step(position_.version.value() - 1);
  }
  expired_.reset();
  barrier_.Reset(position.version);
  previous_squares_.reset();
  ForgetSlots();
}

void Shard::RefuseParked(const std::string& why, std::vector<Send>* out) {
  EMPORIUM_CHECK(due_.empty(), "what is due is answered before anything else is done");
  for (const ParkedPull& pull : parked_) Refuse(pull.peer, pull.frame.header(), Stale(why), out);
  parked_.clear();
  parked_bytes_ = 0;
  for (const Asking& asking : asking_) Refuse(asking.peer, asking.header, Stale(why), out);
  asking_.clear();
}

Status Shard::HandlePull(const PeerId& peer, FrameBytes&& bytes, FrameView&& frame,
                         std::vector<Send>* out) {
  const FrameHeader& header = frame.header();
  if (header.any_version) {
    AnswerPull(peer, frame, false, out);
    return Status::Ok();
  }
  EMPORIUM_RETURN_IF_ERROR(EnterStage(header, out));
  const bool ahead = header.step == position_.version.next();
  if (header.step == position_.version || (ahead && Planted(PlantedBug::kAnswersAnyVersion))) {
    Serve(peer, std::move(bytes), frame, out);
    return Status::Ok();
  }
  if (header.step.next() == position_.version && previous_known_) {
    AnswerPull(peer, frame, !Planted(PlantedBug::kForgetsVersionBefore), out);
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

bool Shard::AnswerNext(std::vector<Send>* out) {
  if (due_.empty()) return false;
  ParkedPull pull = std::move(due_.front());
  due_.pop_front();
  parked_bytes_ -= pull.bytes.bytes().size();
  Serve(pull.peer, std::move(pull.bytes), pull.frame, out);
  Advance(out);
  return true;
}

void Shard::Serve(const PeerId& peer, FrameBytes&& bytes, const FrameView& frame,
                  std::vector<Send>* out) {
  ExpireOnce();
  std::vector<UnclearedVector<Slot>> slots = AnswerPull(peer, frame, false, out);
  if (frame.header().micro_batches == 0) return;
  PullMemory::Pull pull{std::move(bytes), {}};
  pull.sections.reserve(slots.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    const SectionView& asked = frame.sections()[i];
    pull.sections.push_back({asked.table, asked.keys, std::move(slots[i])});
  }
  memory_.Remember(frame.header().micro_batch, std::move(pull));
}

std::vector<UnclearedVector<Slot>> Shard::AnswerPull(const PeerId& peer, const FrameView& frame,
                                                     bool previous, std::vector<Send>* out) {
  std::vector<FrameBuilder::Section> sections;
  sections.reserve(frame.sections().size());
  std::vector<Table::Totals> totals;
  const uint32_t step = position_.global_step - (previous ? 1 : 0);
  for (const SectionView& asked : frame.sections()) {
    const size_t t = asked.table.value();
    const TableSettings& settings = config_.tables[t];
    const uint32_t slots = asked.want_slots ? static_cast<uint32_t>(settings.slots.size()) : 0;
    totals.push_back(previous ? previous_totals_[t] : tables_[t]->totals(step));
    sections.push_back(
        {.table = asked.table,
         .keys = 0,
         .rows = asked.rows,
         .dim = settings.dim,
         .want_popularity = false,
         .has_counts = asked.want_popularity,
         .total = totals.back().popularity,
         .slots = slots,
         .element = settings.element_type,
         .slot_totals = slots > 0 ? static_cast<uint32_t>(totals.back().slots.size()) : 0});
  }
  FrameHeader header = frame.header();
  header.type = FrameType::kPullReply;
  if (std::exchange(header.any_version, false)) {
    header.micro_batch = MicroBatch(barrier_.lowest_missing());
  }
  header.route_version = config_.route_version;
  header.stage = position_.stage.value_or(StageId(0));
  header.step = position_.version;
  FrameBuilder builder(header, sections);
  std::vector<UnclearedVector<Slot>> slots(sections.size());
  for (size_t i = 0; i < sections.size(); ++i) {
    const SectionView& asked = frame.sections()[i];
    const Table& table = *tables_[asked.table.value()];
    const FrameBuilder::Parts parts = builder.part(i);
    std::copy_n(totals[i].slots.begin(), parts.slot_totals.size(), parts.slot_totals.begin());
    slots[i].resize(asked.keys.size());
    table.Find(asked.keys, slots[i]);
    if (previous) {
      step_rows_[asked.table.value()].ReadPrevious(table, asked.keys, slots[i], step, parts.weights,
                                                   parts.counts);
    } else {
      table.ReadRaw(asked.keys, slots[i], step, parts.weights, parts.counts);
    }
    if (asked.want_slots && previous) {
      step_rows_[asked.table.value()].ReadPreviousSlots(table, slots[i], step, parts.slots);
    } else if (asked.want_slots) {
      table.ReadSlots(slots[i], step, parts.slots);
    }
    counters_.rows_pulled += asked.rows;
  }
  out->push_back({peer, std::move(builder).Finish()});
  ++counters_.pulls;
  counters_.bytes_pulled += out->back().bytes.size();
  return slots;
}

Status Shard::HandlePush(const PeerId& peer, FrameBytes&& bytes, FrameView&& frame,
                         std::vector<Send>* out) {
  const FrameHeader header = frame.header();
  if (position_.stage != header.stage && LeavesKeysOut(frame)) return UnknownKeys(header);
  EMPORIUM_RETURN_IF_ERROR(EnterStage(header, out));
  if (header.step > position_.version.next()) {
    return Stale("a push of step " + std::to_string(header.step.value()) +
                 ", the shard stands at " + std::to_string(position_.version.value()));
  }
  // A step that has been applied, or a push that is here.
  const bool here = header.step < position_.version || barrier_.Knows(header);
  const auto follows_nothing = [&] {
    FrameHeader before = header;
    before.micro_batch = MicroBatch(std::max(header.micro_batch.value(), 1u) - 1);
    return header.micro_batch > MicroBatch(0) && !barrier_.Knows(before);
  };
  if (here || (Planted(PlantedBug::kAcknowledgesWithoutTaking) && follows_nothing())) {
    FrameHeader known = header;
    known.micro_batches = 0;
    if (!Planted(PlantedBug::kSilentOnRepetitions)) Acknowledge(peer, known, out);
    ++counters_.duplicate_pushes;
    return Status::Ok();
  }
  const uint64_t size = bytes.bytes().size();
  uint64_t rows = 0;
  for (const SectionView& section : frame.sections()) rows += section.rows;
  StagedPush push{std::move(bytes), std::move(frame), std::nullopt};
  EMPORIUM_RETURN_IF_ERROR(RecallKeys(&push));
  Status staged = CheckMemory(push);
  if (staged.ok()) staged = barrier_.Stage(std::move(push)).status();
  if (!staged.ok()) {
    // Stage moves only what it stages: NOLINTNEXTLINE(bugprone-use-after-move)
    if (push.pull.has_value()) memory_.Remember(header.micro_batch, *std::move(push.pull));
    return staged;
  }
  Acknowledge(peer, header, out);
  ++counters_.pushes;
  counters_.rows_pushed += rows;
  counters_.bytes_pushed += size;
  Advance(out);
  return Status::Ok();
}

Status Shard::RecallKeys(StagedPush* push) {
  if (!LeavesKeysOut(push->frame)) return Status::Ok();
  const FrameHeader& header = push->frame.header();
  std::optional<PullMemory::Pull> pull;
  if (header.step == position_.version) pull = memory_.Take(header.micro_batch);
  for (const SectionView& section : push->frame.sections()) {
    if (!section.known_keys) continue;
    const PullMemory::Section* asked = pull.has_value() ? pull->Find(section.table) : nullptr;
    if (asked != nullptr && asked->keys.size() == section.rows &&
        HashOfKeys(asked->keys) == section.keys_hash) {
      continue;
    }
    if (pull.has_value()) memory_.Remember(header.micro_batch, *std::move(pull));
    return UnknownKeys(header);
  }
  push->pull = std::move(pull);
  return Status::Ok();
}

Status Shard::HandleAssign(const PeerId& peer, const FrameView& frame, std::vector<Send>* out) {
  for (const SectionView& section : frame.sections()) {
    Table& table = *tables_[section.table.value()];
    const StepRows& rows = step_rows_[section.table.value()];
    for (size_t i = 0; i < section.keys.size(); ++i) {
      if (rows.Awaits(section.keys[i])) continue;  // it gets its row with the step under way
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
  if (!IsRequest(header.type)) return;
  out->push_back({peer, EncodeError(header, config_.route_version, position_.version, why)});
}

}  // namespace emporium::ps
