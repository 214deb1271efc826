// What a shard refuses before it looks at its own state: another route, keys and tables that are
// not its own, values that no table may hold.
#include <bit>
#include <cmath>
#include <cstring>

#include "proto/planted_bug.h"
#include "ps/shard.h"
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

Status CheckObservations(const SectionView& section, const std::vector<SlotRule>& rules,
                         const std::string& where) {
  ObservationReader reader(section);
  for (uint32_t row = 0; section.slots_dim > 0 && row < section.rows; ++row) {
    const Observation observed = reader.Next();
    size_t next = 0;
    for (uint32_t left = observed.mask; left != 0; left &= left - 1) {
      const float value = observed.values[next++];
      const SlotRule& rule = rules[static_cast<size_t>(std::countr_zero(left))];
      if (rule.time ? std::bit_cast<uint32_t>(value) == 0 : !std::isfinite(value)) {
        return InvalidArgument(where + "an observation that is not finite, or of no time");
      }
    }
  }
  return Status::Ok();
}

bool IsSightings(double count) { return count >= 0 && count <= limits::kMaxSightings; }

Status NoSightings(const std::string& what, double count) {
  if (count < 0) return InvalidArgument(what + " below zero");
  constexpr auto kMost = static_cast<uint64_t>(limits::kMaxSightings);
  return InvalidArgument(what + " of more than " + std::to_string(kMost) +
                         " sightings in one push");
}

}  // namespace

Status Shard::CheckSender(const FrameHeader& header) const {
  if (!serving_) {
    return Busy("shard " + std::to_string(config_.id.value()) +
                " has not reached the scheduler within its lease, and waits for it");
  }
  if (header.route_version != config_.route_version && Planted(PlantedBug::kTakesAnyRoute)) {
    return Status::Ok();
  }
  if (header.route_version == config_.route_version) {
    if (header.generation >= generation_ || Planted(PlantedBug::kTakesAnyGeneration))
      return Status::Ok();
    return Stale("the request is of generation " + std::to_string(header.generation.value()) +
                 ", shard " + std::to_string(config_.id.value()) + " has heard of " +
                 std::to_string(generation_.value()));
  }
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
  const bool slots_fit = section.slots_dim == 0 || section.slots_dim == settings.slots.size();
  if ((section.want_slots && settings.slots.empty()) || !slots_fit) {
    return InvalidArgument(where + "has " + std::to_string(settings.slots.size()) + " slots");
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
    if (!IsSightings(count)) return NoSightings(where + "a count", count);
  }
  if (!IsSightings(section.total)) return NoSightings(where + "a total", section.total);
  const size_t counters = tables_[t]->counters().size();
  if (!section.slot_totals.empty() && section.slot_totals.size() != counters) {
    return InvalidArgument(where + "has " + std::to_string(counters) + " counters");
  }
  for (const double total : section.slot_totals) {
    if (std::abs(total) > limits::kMaxSlotTotal) {
      return InvalidArgument(where + "a total of a slot beyond what floats add up to");
    }
  }
  return CheckObservations(section, settings.slots, where);
}

Status Shard::CheckSections(const FrameView& frame) const {
  const FrameType type = frame.header().type;
  uint64_t answer_bytes = kFrameHeaderBytes;
  for (const SectionView& section : frame.sections()) {
    if (type == FrameType::kPullReply) break;
    EMPORIUM_RETURN_IF_ERROR(CheckSection(type, section));
    const TableSettings& settings = config_.tables[section.table.value()];
    const uint64_t dim = settings.dim + (section.want_slots ? settings.slots.size() : 0);
    answer_bytes += kSectionHeaderBytes + (section.rows * (dim + 1) * sizeof(float)) + 8;
    if (section.want_slots) answer_bytes += (1 + limits::kMaxSlots) * sizeof(double);
  }
  if (type == FrameType::kPull && answer_bytes > limits::kMaxFrameBytes) {
    return InvalidArgument("the answer would have " + std::to_string(answer_bytes) +
                           " bytes, at most " + std::to_string(limits::kMaxFrameBytes) +
                           "; ask for fewer keys");
  }
  return Status::Ok();
}

}  // namespace emporium::ps
