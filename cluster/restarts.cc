#include "cluster/restarts.h"

#include <algorithm>

namespace emporium::cluster {

void Restarts::Started(const std::string& name, int64_t now_ms) {
  lives_[name].started_ms = now_ms;
  due_ms_.erase(name);
}

std::optional<int64_t> Restarts::Died(const std::string& name, bool killed, int64_t now_ms) {
  Life& life = lives_[name];
  if (now_ms - life.started_ms >= kLongLifeMs) life.short_lives = life.faults = 0;
  if (now_ms - life.started_ms < kLongLifeMs) {
    ++life.short_lives;
    if (!killed) ++life.faults;
  }
  if (life.faults >= kMaxShortLives) return std::nullopt;
  int64_t pause_ms = 0;
  for (int i = 1; i < life.short_lives && pause_ms < kMaxPauseMs; ++i) {
    pause_ms = std::max(2 * pause_ms, kFirstPauseMs);
  }
  return due_ms_[name] = now_ms + std::min(pause_ms, kMaxPauseMs);
}

std::optional<std::string> Restarts::NextDue(int64_t now_ms) {
  const auto due = std::find_if(due_ms_.begin(), due_ms_.end(),
                                [now_ms](const auto& d) { return d.second <= now_ms; });
  if (due == due_ms_.end()) return std::nullopt;
  std::string name = due->first;
  due_ms_.erase(due);
  return name;
}

}  // namespace emporium::cluster
