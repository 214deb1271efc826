// Bugs that the simulator must find: each breaks one rule of docs/semantics.md. They are there only
// in the program `simulate_bugs` (tests/CMakeLists.txt), which compiles the files that name them
// once more with EMPORIUM_PLANTED_BUGS and chooses one of them; elsewhere Planted is a constant.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace emporium {

enum class PlantedBug {
  kNone,
  // A shard ...
  kTakesAnyRoute,              // takes frames of a route before a restore
  kTakesAnyGeneration,         // takes frames of workers that were taken for dead
  kTakesRepetitions,           // stages a micro-batch again that was applied
  kAddsAsTheyCome,             // adds micro-batches in the order of arrival
  kAnswersAnyVersion,          // answers a pull of the next version with the present one
  kForgetsVersionBefore,       // answers a pull of the version before with the present rows
  kAcknowledgesWithoutTaking,  // acknowledges a push that is not the next one and drops it
  kSilentOnRepetitions,        // does not answer a push that it has
  kForgetsSquares,             // has no squares of the step before
  kRestoresPositionAlone,      // stands where the checkpoint stood without what was staged then
  kRestoresWithoutState,       // loses the optimizer's state of a row
  kKeepsNothingAside,          // writes rows of a cut as they have become
  kChangesSinceAnyCut,         // ... changes since another checkpoint than was asked for
  // The scheduler ...
  kKeepsCursor,             // goes back to a checkpoint but not to its place in the stage
  kRestoresSameRoute,       // restores under the route of before
  kForgetsBest,             // removes the checkpoint that a stage may go back to
  kSequencesBeginAnew,      // numbers commands from one after a restart
  kPausesTooEarly,          // ends a paused span before a step that was begun
  kPausesUnseen,            // pauses workers that have not looked where the shards stand
  kAnyDoneCounts,           // takes any finished command for the newest
  kForgetsGenerations,      // does not store which generations it has given out
  kForgetsTheEnd,           // does not store that the job has ended
  kKeepsSilentNodes,        // waits for nodes whose lease is over
  kBelievesAnyChunk,        // takes results of evaluations that are over
  kMissesFiles,             // lists only the files of servers that could write them
  kHoldsNobody,             // restores while a server is missing
  kStoresNothing,           // does not store what it decides
  kIgnoresLaterGeneration,  // ... nor hears from the shards that it has
  kEndsUnsaved,             // ends a stage that is in no checkpoint
  kCountsUnwritten,         // counts a checkpoint whose manifest could not be written
  kPrunesEarly,             // removes the checkpoint before the last when the next one is begun
  // Whoever writes or reads a checkpoint ...
  kSkipsSync,       // does not sync a shard's file
  kRetriesSync,     // believes the second sync of a file when the first has failed
  kSkipsNameSync,   // does not sync directories, in which names are
  kNamesUnwritten,  // writes a manifest under its name
  kForgetsDirName,  // ... or not the one that the checkpoint's own name is in
  kIgnoresDigests,  // looks at the sizes of files alone
  kIgnoresSeal,     // takes a manifest whatever its digest
  kBelievesNewest,  // takes the newest manifest for a checkpoint that is whole
};

inline constexpr std::array<std::string_view, 40> kPlantedBugNames = {
    "none",
    "takes_any_route",
    "takes_any_generation",
    "takes_repetitions",
    "adds_as_they_come",
    "answers_any_version",
    "forgets_version_before",
    "acknowledges_without_taking",
    "silent_on_repetitions",
    "forgets_squares",
    "restores_position_alone",
    "restores_without_state",
    "keeps_nothing_aside",
    "changes_since_any_cut",
    "keeps_cursor",
    "restores_same_route",
    "forgets_best",
    "sequences_begin_anew",
    "pauses_too_early",
    "pauses_unseen",
    "any_done_counts",
    "forgets_generations",
    "forgets_the_end",
    "keeps_silent_nodes",
    "believes_any_chunk",
    "misses_files",
    "holds_nobody",
    "stores_nothing",
    "ignores_later_generation",
    "ends_unsaved",
    "counts_unwritten",
    "prunes_early",
    "skips_sync",
    "retries_sync",
    "skips_name_sync",
    "names_unwritten",
    "forgets_dir_name",
    "ignores_digests",
    "ignores_seal",
    "believes_newest",
};

static_assert(kPlantedBugNames.size() == static_cast<size_t>(PlantedBug::kBelievesNewest) + 1);

#ifdef EMPORIUM_PLANTED_BUGS
extern PlantedBug planted_bug;
inline bool Planted(PlantedBug bug) { return planted_bug == bug; }
#else
constexpr bool Planted(PlantedBug) { return false; }
#endif

}  // namespace emporium
