#include "cluster/restarts.h"

#include <algorithm>

namespace emporium::cluster {

void Restarts::Started(const std::string& name, int64_t now_ms) {
  lives_[name].started_ms = now_ms;
  due_ms_.erase(name);
}

std::optional<int64_t> Restarts::Died(const std::string& name, int64_t now_ms) {
  Life& life = lives_[name];
  life.short_lives = now_ms - life.started_ms >= kLongLifeMs ? 0 : life.short_lives + 1;
  if (life.short_lives >= kMaxShortLives) return std::nullopt;
  const int64_t pause = life.short_lives < 2 ? 0 : kFirstPauseMs << (life.short_lives - 2);
  return due_ms_[name] = now_ms + pause;
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
