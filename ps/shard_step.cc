// A step of a shard: how pushes are added up and applied, and, where gradients are clipped by the
// norm of all of them, how workers learn of its squares and say what is to be applied.
#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "proto/check.h"
#include "proto/planted_bug.h"
#include "ps/shard.h"

namespace emporium::ps {
namespace {

Status NotFinite(Step step) {
  return InvalidArgument("the gradients of step " + std::to_string(step.value()) +
                         " add up to what is not finite; is the learning rate too high?");
}

}  // namespace

void Shard::Advance(std::vector<Send>* out) {
  // Pulls of this version that are due are answered before it is the version before.
  while (due_.empty()) {
    std::optional<StagedPush> push = barrier_.TakeNext();
    if (!push.has_value()) return;
    AddPush(*std::move(push));
    if (barrier_.complete()) CompleteStep(out);
  }
}

void Shard::AddPush(StagedPush given) {
  ExpireOnce();
  const StagedPush& push = added_.emplace_back(std::move(given));
  event_time_ = std::max(event_time_, push.frame.header().event_time);
  UnclearedVector<Slot> found;
  for (const SectionView& section : push.frame.sections()) {
    const size_t t = section.table.value();
    std::span<const uint64_t> keys = section.keys;
    std::span<const Slot> slots;
    if (section.known_keys) {
      const PullMemory::Section* const asked = push.pull->Find(section.table);
      keys = asked->keys;
      slots = asked->slots;
    } else {
      found.resize(keys.size());
      tables_[t]->Find(keys, found);
      slots = found;
    }
    step_rows_[t].Add(keys, slots, section);
    added_totals_[t].popularity += section.total;
    for (size_t c = 0; c < section.slot_totals.size(); ++c) {
      added_totals_[t].slots[c] += section.slot_totals[c];
    }
  }
}

void Shard::CompleteStep(std::vector<Send>* out) {
  for (size_t i = 0; i < tables_.size(); ++i) {
    retention_[i].keys_refused += step_rows_[i].Close(*tables_[i]);
  }
  if (!barrier_.awaits_scale()) return ApplyStep(1);
  squares_.emplace();
  for (size_t i = 0; i < tables_.size(); ++i) {
    // Statistics that are gathered are no gradients.
    if (!config_.tables[i].fixed_rate) step_rows_[i].AddSquares(&*squares_);
  }
  for (const Asking& asking : std::exchange(asking_, {})) {
    const Status told = TellSquares(asking.peer, asking.header, *squares_, out);
    if (!told.ok()) Refuse(asking.peer, asking.header, told, out);
  }
}

Status Shard::TellSquares(const PeerId& peer, const FrameHeader& header, const StepSquares& squares,
                          std::vector<Send>* out) {
  if (!squares.finite) return NotFinite(header.step);
  out->push_back(
      {peer, EncodeSquares(header, config_.route_version, position_.version, squares.sum)});
  return Status::Ok();
}

Status Shard::HandleSquares(const PeerId& peer, const FrameHeader& header, std::vector<Send>* out) {
  const Step version = position_.version;
  Status stale = Stale("squares of stage " + std::to_string(header.stage.value()) + " step " +
                       std::to_string(header.step.value()) + ", which is not under way here");
  if (position_.stage != header.stage) return stale;
  if (header.step == version && barrier_.awaits_scale()) {
    if (squares_.has_value()) {
      EMPORIUM_RETURN_IF_ERROR(TellSquares(peer, header, *squares_, out));
    } else if (asking_.size() < config_.max_parked_pulls) {
      asking_.push_back({peer, header});
    } else {
      return Busy(std::to_string(asking_.size()) + " ask for squares already; send it again");
    }
  } else if (header.step.next() == version && previous_squares_.has_value()) {
    const ExactSum sum = Planted(PlantedBug::kForgetsSquares) ? ExactSum() : *previous_squares_;
    EMPORIUM_RETURN_IF_ERROR(TellSquares(peer, header, {sum, true}, out));
  } else if (header.step.next() < version) {
    EMPORIUM_RETURN_IF_ERROR(TellSquares(peer, header, {}, out));
  } else {
    return stale;
  }
  ++counters_.squares_asked;
  return Status::Ok();
}

Status Shard::HandleApply(const PeerId& peer, const FrameHeader& header, std::vector<Send>* out) {
  EMPORIUM_CHECK(due_.empty(), "what is due is answered before the next frame");
  const bool under_way = header.step == position_.version && squares_.has_value();
  if (position_.stage != header.stage || (!under_way && header.step >= position_.version)) {
    return Stale("step " + std::to_string(header.step.value()) + " of stage " +
                 std::to_string(header.stage.value()) + " cannot be applied: the shard stands at " +
                 std::to_string(position_.version.value()) + " and has not all of its pushes");
  }
  if (under_way && !squares_->finite) return NotFinite(header.step);
  ++counters_.applies;
  if (under_way) ApplyStep(header.gradient_scale);
  Acknowledge(peer, header, out);
  if (under_way) Advance(out);
  return Status::Ok();
}

void Shard::ApplyStep(float gradient_scale) {
  EMPORIUM_CHECK(position_.global_step < std::numeric_limits<uint32_t>::max(),
                 "rows count steps in 32 bits");
  const uint32_t before = position_.global_step;
  for (size_t i = 0; i < tables_.size(); ++i) {
    if (config_.tables[i].event_time()) tables_[i]->SetTime(before + 1, event_time_);
    StepRows::Factors factors{barrier_.learning_rate_factor(), gradient_scale};
    if (config_.tables[i].fixed_rate) factors = {};
    counters_.rows_updated += step_rows_[i].Apply(*tables_[i], before + 1, factors);
    ApplyTotals(i);
    if (!cut_table_.has_value()) step_rows_[i].KeepKeys(false);
  }
  added_.clear();
  event_time_ = 0;
  previous_squares_.reset();
  if (squares_.has_value()) previous_squares_ = squares_->sum;
  squares_.reset();
  barrier_.Advance();
  position_.version = position_.version.next();
  ++position_.global_step;
  EMPORIUM_CHECK(barrier_.step() == position_.version, "barrier and version go together");
  previous_known_ = true;
  ++counters_.steps_applied;
  memory_.Forget();
  for (ParkedPull& pull : parked_) due_.push_back(std::move(pull));
  parked_.clear();
}

}  // namespace emporium::ps
