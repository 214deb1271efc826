// Every truncation and every flipped bit of a small checkpoint: is it seen, and is the older one
// chosen (bench/checkpoint_damage.h).
//
// usage: bench_damage [--most N]     at most N truncations and N flips, evenly chosen; else all
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <string>

#include "bench/checkpoint_damage.h"

namespace emporium::bench {
namespace {

void Print(const char* name, uint64_t value) {
  std::printf("figure %s %" PRIu64 "\n", name, value);
}

int Main(uint64_t most) {
  namespace fs = std::filesystem;
  // In memory where there is such a place: nothing here is about disks.
  const fs::path scratch = fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
  const fs::path root = scratch / ("emporium-damage-" + std::to_string(::getpid()));
  fs::remove_all(root);
  const Result<DamageCounts> counts = CheckpointDamage(root.string()).Run(most);
  fs::remove_all(root);
  if (!counts.ok()) {
    std::fprintf(stderr, "bench_damage: %s\n", counts.status().ToString().c_str());
    return 1;
  }
  const uint64_t trials = counts->truncations + counts->flips;
  const uint64_t detected = counts->truncations_detected + counts->flips_detected;
  Print("checkpoint_bytes", counts->bytes);
  Print("truncations", counts->truncations);
  Print("truncations_detected", counts->truncations_detected);
  Print("flips", counts->flips);
  Print("flips_detected", counts->flips_detected);
  Print("previous_chosen", counts->previous_chosen);
  Print("not_detected", trials - detected);
  Print("previous_not_chosen", trials - counts->previous_chosen);
  return 0;
}

}  // namespace
}  // namespace emporium::bench

int main(int argc, char** argv) {
  uint64_t most = ~uint64_t{0};
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) != "--most" || i + 1 == argc) {
      std::fprintf(stderr, "usage: bench_damage [--most N]\n");
      return 2;
    }
    most = std::stoull(argv[++i]);
  }
  return emporium::bench::Main(most);
}
