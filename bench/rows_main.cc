// How fast rows are converted, updated and initialised, by level of vector instructions. The levels
// take turns in bursts of about a millisecond in one thread; what is printed are medians, and their
// ratio to the plain path. The rows lie in the second-level cache: this measures the loops, not the
// memory (bench_table does).
//
// usage: bench_rows
#include <google/protobuf/text_format.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "proto/check.h"
#include "proto/element.h"
#include "ps/initializer.h"
#include "ps/optimizer.h"

namespace emporium {
namespace {

constexpr size_t kFloats = 1 << 15;
constexpr int kBursts = 41;
constexpr uint32_t kDims[] = {16, 64, 128};

// Of this thread: what else runs on the processor takes time, but is not counted.
double CpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Nanoseconds a row at each level, the levels taking turns.
void Measure(const std::string& what, uint32_t dim, size_t rows,
             const std::function<void(SimdLevel)>& pass) {
  constexpr int kPasses = 4;
  std::array<std::vector<double>, std::size(kSimdLevels)> samples;
  for (int burst = 0; burst < kBursts; ++burst) {
    for (const SimdLevel level : kSimdLevels) {
      if (!HasSimd(level)) continue;
      const double start = CpuSeconds();
      for (int i = 0; i < kPasses; ++i) pass(level);
      const double seconds = CpuSeconds() - start;
      samples[static_cast<size_t>(level)].push_back(seconds / kPasses / static_cast<double>(rows) *
                                                    1e9);
    }
  }
  std::printf("%-26s %4u", what.c_str(), dim);
  double plain = 0;
  for (std::vector<double>& sample : samples) {
    if (sample.empty()) continue;
    std::nth_element(sample.begin(), sample.begin() + kBursts / 2, sample.end());
    const double median = sample[kBursts / 2];
    if (plain == 0) plain = median;
    std::printf("  %8.1f (%4.1fx)", median, plain / median);
  }
  std::printf("\n");
}

void MeasureElements(uint32_t dim) {
  const size_t rows = kFloats / dim;
  std::vector<float> floats(rows * dim);
  for (size_t i = 0; i < floats.size(); ++i) {
    floats[i] = static_cast<float>(MixBits(i) >> 40) * 0x1p-24f - 0.5f;
  }
  for (const spec::ElementType type : {spec::FP16, spec::BF16, spec::INT8}) {
    const size_t bytes = WeightBytes(type, dim);
    std::vector<std::byte> encoded(rows * bytes);
    Measure(spec::ElementType_Name(type) + " encode", dim, rows, [&](SimdLevel level) {
      for (size_t r = 0; r < rows; ++r) {
        EncodeWith(level, type, &floats[r * dim], dim, RoundingSeedOf(1, r, 2),
                   &encoded[r * bytes]);
      }
    });
    Measure(spec::ElementType_Name(type) + " decode", dim, rows, [&](SimdLevel level) {
      DecodeWith(level, type, encoded.data(), rows, dim, floats.data());
    });
  }
}

void MeasureOptimizer(const std::string& settings, uint32_t dim) {
  spec::Optimizer spec;
  EMPORIUM_CHECK(google::protobuf::TextFormat::ParseFromString(settings, &spec), "settings parse");
  const auto optimizer = ps::MakeOptimizer(spec).value();
  const size_t rows = kFloats / dim;
  const size_t states = optimizer->StateFloats(dim);
  std::vector<float> weights(rows * dim, 0.1f), state(rows * states + 1, 0.5f);
  const std::vector<float> gradients(rows * dim, 0.01f);
  std::vector<float*> weights_of, state_of;
  std::vector<const float*> gradient_of;
  std::vector<uint32_t> updates;
  for (size_t r = 0; r < rows; ++r) {
    weights_of.push_back(&weights[r * dim]);
    state_of.push_back(&state[r * states]);
    gradient_of.push_back(&gradients[r * dim]);
    updates.push_back(static_cast<uint32_t>(1 + r % 1000));
  }
  Measure(settings, dim, rows, [&](SimdLevel level) {
    optimizer->ApplyWith(level, {rows, dim, weights_of.data(), state_of.data(), gradient_of.data(),
                                 updates.data(), nullptr, 0.1f});
  });
}

void MeasureInitializer(const std::string& settings, uint32_t dim) {
  spec::Initializer spec;
  EMPORIUM_CHECK(google::protobuf::TextFormat::ParseFromString(settings, &spec), "settings parse");
  const auto initializer = ps::Initializer::Make(spec, 1).value();
  const size_t rows = kFloats / dim;
  std::vector<float> values(rows * dim);
  Measure(settings, dim, rows, [&](SimdLevel level) {
    for (size_t r = 0; r < rows; ++r) {
      initializer.FillWith(level, r, std::span(values).subspan(r * dim, dim));
    }
  });
}

}  // namespace
}  // namespace emporium

int main() {
  using namespace emporium;  // NOLINT
  std::printf("%-26s %4s  %16s  %16s  %16s\n", "ns a row", "dim", "plain", "AVX2", "AVX-512");
  for (const uint32_t dim : kDims) MeasureElements(dim);
  for (const char* settings :
       {"sgd {}", "momentum {}", "adagrad {}", "rowwise_adagrad {}", "adam {}", "adamw {}",
        "ftrl {}", "rowwise_adagrad {} clip_norm: 1"}) {
    for (const uint32_t dim : kDims) MeasureOptimizer(settings, dim);
  }
  for (const char* settings : {"uniform {}", "normal {}", "truncated_normal {}", "xavier {}"}) {
    for (const uint32_t dim : kDims) MeasureInitializer(settings, dim);
  }
  return 0;
}
