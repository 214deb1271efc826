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

// Applying a change begins with its rewind: what was added before a later one goes here, and of two
// rewinds the one that forgets more stays.
void StateChange::TakeBack(const Position& to) {
  std::erase_if(finished, [&](const auto& f) { return f.first >= to.stage; });
  std::erase_if(curves, [&](const auto& c) { return c.first >= to.stage; });
  std::erase_if(metrics, [&](const StageMetrics& m) {
    return m.stage > to.stage || (m.stage == to.stage && (!m.step || *m.step > to.step));
  });
  const auto place = [](const Position& p) { return std::pair(p.stage, p.step); };
  if (!rewind || place(to) < place(*rewind)) rewind = to;
}

void StateChange::Add(StateChange later) {
  if (later.rewind) TakeBack(*later.rewind);
  if (later.generation) generation = later.generation;
  if (later.next_node) next_node = later.next_node;
  if (later.runs) runs = later.runs;
  if (later.running) running = std::move(later.running);
  if (later.fingerprint) fingerprint = std::move(later.fingerprint);
  Overwrite(&finished, std::move(later.finished));
  Append(&metrics, std::move(later.metrics));
  Append(&checkpoints, std::move(later.checkpoints));
  Overwrite(&curves, std::move(later.curves));
  Append(&events, std::move(later.events));
}

bool StateChange::empty() const {
  return !generation && !next_node && !runs && !running && !rewind && !fingerprint &&
         finished.empty() && metrics.empty() && checkpoints.empty() && curves.empty() &&
         events.empty();
}

}  // namespace emporium::scheduler
