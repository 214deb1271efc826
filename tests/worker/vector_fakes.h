// Vectors like those of a trained two-tower model: directions in clusters, a popularity number that
// makes a few items much longer than the rest, users with a 1 in that place.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace emporium::worker {

struct FakeVectors {
  int32_t width = 0;
  std::vector<float> items;  // row-major
  std::vector<float> users;
};

inline FakeVectors MakeVectors(int32_t items, int32_t users, int32_t width, float popularity) {
  std::mt19937 random(17);
  std::normal_distribution<float> normal;
  constexpr int32_t kClusters = 20;
  const int32_t plain = width - 1;
  std::vector<float> centres(static_cast<size_t>(kClusters) * plain);
  for (float& c : centres) c = normal(random);
  auto direction = [&](float length, std::vector<float>* out) {
    const size_t centre = random() % kClusters * plain;
    std::vector<float> v(plain);
    float sum = 0;
    for (int32_t d = 0; d < plain; ++d) {
      v[d] = centres[centre + d] + 0.7f * normal(random);
      sum += v[d] * v[d];
    }
    for (const float x : v) out->push_back(length * x / std::sqrt(sum));
  };
  FakeVectors out;
  out.width = width;
  for (int32_t i = 0; i < items; ++i) {
    direction(1, &out.items);
    const float rank = 1 + static_cast<float>(random() % items);
    out.items.push_back(popularity * std::log1p(static_cast<float>(items) / rank));
  }
  for (int32_t u = 0; u < users; ++u) {
    direction(6.3f, &out.users);
    out.users.push_back(1);
  }
  return out;
}

}  // namespace emporium::worker
