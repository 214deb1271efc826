// What growing costs: the time of batches of 8192 keys that are all new, and memory a row.
//
// usage: bench_table_growth [--dim N] [--from N] [--to N] [--small-pages] [--alone] [--cold]
//   Times are CPU time of the thread that owns the table, so that other programs do not show; page
//   faults do, those that another thread has taken over do not. --alone: none does
//   (ps/page_ahead.h).
//   Batches in which the host of a virtual machine took a processor away (steal in /proc/stat,
//   which comes late: in the batch or the next one) are left out: the kernel takes that for the
//   thread's. The memory is taken and given back once before anything is timed, unless --cold:
//   where a virtual machine's host has not backed a page yet, its first touch takes some 20 times
//   as long, whatever it is for.
#include <sys/mman.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include "bench/cpu_time.h"
#include "bench/table_limit.h"
#include "bench/table_workload.h"
#include "ps/table.h"

namespace emporium::bench {
namespace {

constexpr uint32_t kPartitions = 1024;

void Print(const char* what, std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const size_t n = seconds.size();
  const double median = seconds[n / 2];
  std::printf("%s: %zu batches, median %.2f ms, p99 %.2f ms, worst %.2f ms = %.2f x\n", what, n,
              median * 1e3, seconds[n * 99 / 100] * 1e3, seconds.back() * 1e3,
              seconds.back() / median);
}

double ProcessCpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

void WarmMemory(size_t bytes) {
  const HugeArray<std::byte> memory(bytes);
  // Refused by an old kernel or for want of memory: then what is timed pays for it.
  madvise(memory.data(), bytes, MADV_POPULATE_WRITE);
}

int Main(uint32_t dim, uint64_t from, uint64_t to, bool alone) {
  ps::TableSettings settings;
  settings.name = "bench";
  settings.dim = dim;
  settings.seed = 1;
  settings.optimizer.mutable_rowwise_adagrad();
  settings.initializer.mutable_zeros();
  std::vector<PartitionId> partitions;
  for (uint32_t p = 0; p < kPartitions; ++p) partitions.emplace_back(static_cast<uint16_t>(p));
  const double before = ResidentBytes();
  std::optional<ps::PageAhead> page_ahead;
  if (!alone) page_ahead.emplace();
  ps::Table table(settings, kPartitions, partitions, alone ? nullptr : &*page_ahead);
  std::vector<uint64_t> keys(kBatch);
  std::vector<ps::Slot> slots(kBatch);
  std::vector<double> all;
  std::vector<double> window;
  size_t stolen = 0;
  bool was_taken = false;
  uint64_t mark = 2 * from;
  uint64_t next = 0;
  while (next < to) {
    for (uint64_t& key : keys) key = KeyOfRank(next++);
    const uint64_t ticks = ReadMachineTicks().stolen;
    const double start = ThreadCpuSeconds();
    table.FindOrCreate(keys, slots);
    const double seconds = ThreadCpuSeconds() - start;
    if (next <= from) continue;
    const bool taken = ReadMachineTicks().stolen != ticks;
    if (taken && !window.empty() && !was_taken) window.pop_back();
    if (!taken) window.push_back(seconds);
    stolen += taken ? 1 : 0;
    was_taken = taken;
    if (next < mark && next < to) continue;
    Print(("to " + std::to_string(next)).c_str(), window);
    all.insert(all.end(), window.begin(), window.end());
    window.clear();
    mark *= 2;
  }
  Print("all", all);
  std::printf(
      "%zu batches and those before them left out, in which the host took a processor away\n",
      stolen);
  std::printf("CPU time of this thread %.1f s, of all %.1f s\n", ThreadCpuSeconds(),
              ProcessCpuSeconds());
  if (!alone) page_ahead->WaitUntilIdle();
  const double rows = static_cast<double>(table.rows());
  const double columns = (dim + 1) * sizeof(float);
  const double overhead = (ResidentBytes() - before) / rows - columns;
  std::sort(all.begin(), all.end());
  std::printf("bytes a row: %.2f, of them %.2f beyond weights and state\n", overhead + columns,
              overhead);
  std::printf("figure growth_worst_over_median %.3f\n", all.back() / all[all.size() / 2]);
  std::printf("figure growth_p99_over_median %.3f\n",
              all[all.size() * 99 / 100] / all[all.size() / 2]);
  std::printf("figure growth_overhead %.3f\n", overhead);
  return 0;
}

}  // namespace
}  // namespace emporium::bench

int main(int argc, char** argv) {
  uint32_t dim = 16;
  uint64_t from = 1'000'000;
  uint64_t to = 20'000'000;
  bool alone = false;
  bool cold = false;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const bool more = i + 1 < argc;
    if (flag == "--dim" && more) {
      dim = static_cast<uint32_t>(std::stoul(argv[++i]));
    } else if (flag == "--from" && more) {
      from = std::stoull(argv[++i]);
    } else if (flag == "--to" && more) {
      to = std::stoull(argv[++i]);
    } else if (flag == "--alone") {
      alone = true;
    } else if (flag == "--cold") {
      cold = true;
    } else if (flag == "--small-pages") {
      prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    } else {
      std::fprintf(stderr, "bench_table_growth: unknown flag %s\n", argv[i]);
      return 2;
    }
  }
  // As much as the table will have, by half more than its rows are thought to need.
  if (!cold) emporium::bench::WarmMemory((dim * sizeof(float) + 24) * to * 3 / 2);
  return emporium::bench::Main(dim, from, to, alone);
}
