#include "scheduler/state_store.h"

#include <iterator>
#include <utility>

namespace emporium::scheduler {
namespace {

template <class T>
void Append(std::vector<T>* to, std::vector<T> more) {
  to->insert(to->end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

template <class Map>
void Overwrite(Map* to, Map more) {
  for (auto& [key, value] : more) (*to)[key] = std::move(value);
}

}  // namespace

void StateChange::Add(StateChange later) {
  // Applying a change begins with its rewind.
  EMPORIUM_CHECK(!later.rewind || (finished.empty() && metrics.empty() && curves.empty()),
                 "what a rewind takes back must not have been added before it");
  if (later.generation) generation = later.generation;
  if (later.next_node) next_node = later.next_node;
  if (later.rewind) rewind = later.rewind;
  if (later.fingerprint) fingerprint = std::move(later.fingerprint);
  Overwrite(&finished, std::move(later.finished));
  Append(&metrics, std::move(later.metrics));
  Append(&checkpoints, std::move(later.checkpoints));
  Overwrite(&curves, std::move(later.curves));
  Append(&events, std::move(later.events));
}

bool StateChange::empty() const {
  return !generation && !next_node && !rewind && !fingerprint && finished.empty() &&
         metrics.empty() && checkpoints.empty() && curves.empty() && events.empty();
}

}  // namespace emporium::scheduler
