#include "models/zoo/nam_options.h"

#include <algorithm>
#include <initializer_list>

#include "models/layers/mlp.h"
#include "proto/model_options.h"

namespace emporium::models {

namespace {

void ParseQuery(const spec::Job& job, NamInputs* inputs, Complaints& complaints) {
  constexpr spec::FeatureSource kSources[] = {spec::ROW, spec::ITEM};
  for (const std::string& name : QueryFeatures(job)) {
    const auto found = FindTableFeature(job, "model.nam.query", name, kSources, complaints);
    if (!found) continue;
    inputs->query.push_back(
        {name, found->dim(), PoolKindOf(found->feature->pooling()), inputs->query_width});
    inputs->query_width += found->dim();
  }
}

// Kinds and ages of the events.
void ParseEvents(const spec::Job& job, const NamInputs& inputs, Complaints& complaints) {
  constexpr spec::FeatureSource kHistory[] = {spec::HISTORY};
  const spec::Nam& options = inputs.options;
  if (const std::string& name = options.action_feature(); !name.empty()) {
    const auto found =
        FindTableFeature(job, "model.nam.action_feature", name, kHistory, complaints);
    if (found && found->table->dim() != options.heads()) {
      complaints.Add("model.nam.action_feature", "table '" + found->table->name() + "' has dim " +
                                                     std::to_string(found->table->dim()) +
                                                     "; a kind has one number a head, " +
                                                     std::to_string(options.heads()));
    }
  }
  if (options.gap_edges_days().empty()) return;
  CheckEdges("model.nam.gap_edges_days",
             {options.gap_edges_days().data(), static_cast<size_t>(options.gap_edges_days_size())},
             complaints);
  for (const spec::TargetHistory& pair : options.pair()) {
    const spec::Feature* history = FindFeature(job, pair.history());
    if (history == nullptr || history->source() == spec::HISTORY) continue;
    complaints.Add("model.nam.gap_edges_days", "the keys of feature '" + pair.history() +
                                                   "' have no time; take a HISTORY feature");
  }
}

// The slots of one side; there is one a head exactly where they are used.
std::vector<uint32_t> ParseSlots(const spec::Job& job, const std::string& option,
                                 const google::protobuf::RepeatedPtrField<std::string>& names,
                                 const spec::Nam& options, float exponent, Complaints& complaints) {
  const std::string field = "model.nam." + option;
  const bool used =
      options.normalise() == spec::Nam::RUNNING && (exponent != 0 || options.learn_exponents());
  const uint32_t wanted = used ? options.heads() : 0;
  if (static_cast<uint32_t>(names.size()) != wanted) {
    complaints.Add(field, std::to_string(names.size()) + " slots are named, " +
                              std::to_string(wanted) +
                              " are used: one a head with normalise: RUNNING and an exponent that "
                              "is not 0");
  }
  std::vector<uint32_t> slots;
  const auto table = FindTable(job, FedSlotsOf(job).table);
  if (!table) return slots;  // complained of with the pair
  const spec::Table& of = job.table(table->value());
  for (const std::string& name : names) {
    const auto slot = std::find_if(of.slot().begin(), of.slot().end(),
                                   [&name](const spec::Slot& s) { return s.name() == name; });
    if (slot == of.slot().end() || !slot->fed_by_model()) {
      complaints.Add(field, "table '" + of.name() + "' has no slot '" + name +
                                "' that is fed by the model; add slot { name: '" + name +
                                "' update: LOG_EMA fed_by_model: true }");
      continue;
    }
    slots.push_back(static_cast<uint32_t>(slot - of.slot().begin()));
  }
  return slots;
}

void CheckNumbers(const spec::Nam& options, Complaints& complaints) {
  const auto share = [&complaints](const char* name, float value) {
    if (value >= 0 && value <= 1) return;
    complaints.Add("model.nam." + std::string(name),
                   std::to_string(value) + " is outside 0 to 1; give a number within");
  };
  share("alpha", options.alpha());
  share("beta", options.beta());
  share("mix", options.mix());
  if (options.heads() == 0 || options.width() == 0 || options.width() % options.heads() != 0) {
    complaints.Add("model.nam.heads", std::to_string(options.heads()) +
                                          " heads do not divide the width " +
                                          std::to_string(options.width()) + "; give a divisor");
  }
  if (options.sampled_events() == 0) {
    complaints.Add("model.nam.sampled_events", "there are none; give at least 1");
  }
}

}  // namespace

Result<NamInputs> ParseNam(const spec::Job& job) {
  Complaints complaints;
  NamInputs inputs;
  spec::Nam& options = inputs.options;
  options = job.model().nam();
  inputs.sequences = ParseSequences(job, TaskCount::kAny, complaints);
  CheckNumbers(options, complaints);
  ParseQuery(job, &inputs, complaints);
  ParseEvents(job, inputs, complaints);
  inputs.target_slot =
      ParseSlots(job, "target_slot", options.target_slot(), options, options.alpha(), complaints);
  inputs.event_slot =
      ParseSlots(job, "event_slot", options.event_slot(), options, options.beta(), complaints);
  inputs.counted = !PopularityTable(job).empty();
  const bool frequency = options.normalise() == spec::Nam::FREQUENCY;
  if (!inputs.counted && (frequency || options.gate() != spec::Nam::OPEN)) {
    complaints.Add(frequency ? "model.nam.normalise" : "model.nam.gate",
                   "the table of the first pair keeps no popularity; add popularity {} to it" +
                       std::string(frequency ? "" : ", or set gate: OPEN"));
  }
  const auto fill = [&complaints](spec::Mlp* mlp, bool given,
                                  std::initializer_list<uint32_t> widths, const char* name) {
    *mlp = MlpOr(*mlp, given, widths, "model.nam." + std::string(name), complaints);
  };
  const spec::Nam& named = job.model().nam();
  fill(options.mutable_gate_mlp(), named.has_gate_mlp(), {32}, "gate_mlp");
  fill(options.mutable_fallback(), named.has_fallback(), {64}, "fallback");
  fill(options.mutable_tower(), named.has_tower(), {256, 128}, "tower");
  EMPORIUM_RETURN_IF_ERROR(complaints.ToStatus());
  return inputs;
}

}  // namespace emporium::models
