// What the options of every model have in common, read without knowing which model it is. Pure
// functions; safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/job.pb.h"

namespace emporium {

// The name of the job's model as the job file has it: "deepfm". Empty: none is set.
std::string ModelName(const spec::Job& job);

// The model ranks items by the similarity of vectors of users and items: it has an option
// `similarity`. Otherwise it scores samples one by one.
bool IsRetrieval(const spec::Job& job);

// An option that names a feature.
struct FeatureOption {
  std::string path;     // "model.two_tower.item_feature"
  bool set = false;     // the job file has it
  std::string feature;  // what it names
};
// Of a retrieval model: the feature that gives an item's own row, `item_feature`, and that of the
// words whose rows are added to it, `title_feature` or `attribute_feature`.
FeatureOption ItemOption(const spec::Job& job);
FeatureOption ItemWordsOption(const spec::Job& job);

// The model tells samples of different scenarios apart: it needs data.scenario.
bool TellsScenarios(const spec::Job& job);
// A value of data.scenario over an INT column; false: it is no whole number.
bool ParseWhole(const std::string& text, int64_t* number);

// It scores samples one by one and the data has no labels: every event is a positive.
bool IsImplicit(const spec::Job& job);

// What a metric's name says of a ranking among sampled items: "sampled99_hr@10" is {99, "hr@10"}.
// Of another metric negatives is 0.
struct SampledMetric {
  uint32_t negatives = 0;
  std::string name;
};
SampledMetric SampledMetricOf(const std::string& metric);
// What stands before `name`: "sampled99_".
std::string SampledPrefix(uint32_t negatives);

// Of a pointwise model, its option `pair`: targets with the histories of the same kind. Empty: it
// reads no sequences.
std::vector<spec::TargetHistory> SequencePairs(const spec::Job& job);
// Of a pointwise model, its option `query`: the features of the query.
std::vector<std::string> QueryFeatures(const spec::Job& job);
// Of a pointwise model with pairs, its option `action_feature`: of which kind each event of the
// histories is. Empty: none.
std::string KindFeature(const spec::Job& job);
// Of a pointwise model: the names of the features that enter beside these: its option `feature` or,
// when that is empty, all features that no other option names.
std::vector<std::string> PlainFeatures(const spec::Job& job);
// Those that its position tower reads (`with`) and the model itself does not.
std::vector<std::string> PositionFeatures(const spec::Job& job);
// The names of all features that enter, in the order of a batch's fields: plain ones, the targets,
// the histories, those of the query, the kind, those of the position tower.
std::vector<std::string> InputFeatures(const spec::Job& job);

// A pointwise model with an option `gap_edges_days`, which is set: it reads how long ago the events
// of its histories were.
bool ReadsEventAges(const spec::Job& job);
// A pointwise model with an option `normalise` reads how popular the first pair's rows are: their
// table, or empty where there is none or it keeps no popularity.
std::string PopularityTable(const spec::Job& job);
// Slots that a model feeds, of the table of its first pair: its options `target_slot` and
// `event_slot`, in this order.
struct FedSlots {
  std::string table;
  std::vector<std::string> target;
  std::vector<std::string> event;
};
FedSlots FedSlotsOf(const spec::Job& job);
// Its option `linear_table`; empty when it has none.
std::string LinearTable(const spec::Job& job);

}  // namespace emporium
