// How near the embedding table comes to the rate at which this machine gathers rows. bench/table
// runs it.
//
// usage: bench_table [--dims 16,32,64,128] [--rows N] [--runs N] [--peers] [--small-pages]
//                    [--two-shards] [--only lookup|update|memory] [--csv FILE]
//   for each width: lookups and row-wise Adagrad updates of batches of 8192 distinct keys, uniform
//   and Zipf 1.05, against the tuned limit; memory. --peers: at 16 and 64 hash maps too.
//   --two-shards: two tables of half the rows on two threads, against two limits on two threads,
//   lookups alone.
#include <sys/prctl.h>

#ifdef EMPORIUM_HAVE_ABSL
#include <absl/container/flat_hash_map.h>
#endif

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "bench/bursts.h"
#include "bench/table_limit.h"
#include "bench/table_workload.h"
#include "ps/table.h"

namespace emporium::bench {
namespace {

constexpr uint32_t kPartitions = 1024;
constexpr int kPairs = 5;
constexpr size_t kBatchesMade = 96;
constexpr size_t kOutputs = 4;  // buffers taken in turns, as messages would be

struct Flags {
  std::vector<int> dims = {16, 32, 64, 128};
  uint32_t rows = 10'000'000;
  int runs = 5;
  bool peers = false;
  bool huge = true;
  bool two_shards = false;
  std::string only;  // one of the three; empty: all
  std::string csv;
};

ps::TableSettings Settings(int dim) {
  ps::TableSettings settings;
  settings.name = "bench";
  settings.dim = static_cast<uint32_t>(dim);
  settings.seed = 1;
  auto* adagrad = settings.optimizer.mutable_rowwise_adagrad();
  adagrad->set_learning_rate(0.001f);
  settings.initializer.mutable_constant()->set_value(0.01f);
  return settings;
}

std::vector<PartitionId> AllPartitions() {
  std::vector<PartitionId> partitions;
  partitions.reserve(kPartitions);
  for (uint32_t p = 0; p < kPartitions; ++p) partitions.emplace_back(static_cast<uint16_t>(p));
  return partitions;
}

class Report {
 public:
  explicit Report(const std::string& csv) {
    if (!csv.empty()) csv_.open(csv);
    Line("what,dim,keys,system,ratio,low,high,rows_per_s,limit_rows_per_s,limit,contended");
  }
  void Add(const std::string& what, int dim, const std::string& keys, const std::string& system,
           const Comparison& c, Prefetch limit) {
    const double mine = kBatch / c.candidate_s;
    const double reference = kBatch / c.reference_s;
    std::printf(
        "%-7s dim %-4d %-8s %-14s %.3f [%.3f %.3f]  %6.1f of %6.1f M rows/s  limit %-6s"
        "  contended %.0f %%\n",
        what.c_str(), dim, keys.c_str(), system.c_str(), c.ratio.median, c.ratio.low, c.ratio.high,
        mine / 1e6, reference / 1e6, limit.ToString().c_str(), 100 * c.contended);
    std::fflush(stdout);
    std::ostringstream line;
    line << what << ',' << dim << ',' << keys << ',' << system << ',' << c.ratio.median << ','
         << c.ratio.low << ',' << c.ratio.high << ',' << mine << ',' << reference << ','
         << limit.ToString() << ',' << c.contended;
    Line(line.str());
    const std::string name = what + "_" + keys + "_dim" + std::to_string(dim) + "_" + system;
    std::printf("figure %s %.4f\n", name.c_str(), c.ratio.median);
  }

 private:
  void Line(const std::string& line) {
    if (csv_.is_open()) csv_ << line << '\n';
  }
  std::ofstream csv_;
};

// All that is measured at one width.
template <int kDim>
class Width {
 public:
  Width(const Flags& flags, Report* report)
      : flags_(flags),
        report_(report),
        order_(ShuffledRanks(flags.rows)),
        uniform_(MakeBatches(order_, 0, kBatchesMade, 11)),
        zipf_(MakeBatches(order_, 1.05, kBatchesMade, 12)),
        limit_(flags.rows, flags.huge),
        out_(kOutputs * kBatch * kDim, flags.huge),
        gradients_(kOutputs * kBatch * kDim, flags.huge),
        slots_(kBatch) {
    for (uint32_t i = 0; i < flags.rows; ++i) std::fill_n(limit_.row(i), kDim, 0.01f);
    for (size_t i = 0; i < kOutputs * kBatch * kDim; ++i) {
      out_.data()[i] = 0;
      gradients_.data()[i] = 0.001f;
    }
    MakeTable();
  }

  // Lookups by two of these at once, each on a thread of its own.
  static void RunTwo(const Flags& flags, Report* report) {
    Width a(flags, report);
    Width b(flags, report);
    const Prefetch read = a.Tune([&](Prefetch p) { return a.LimitRead(a.uniform_, p); });
    const auto both = [&](const Work& one, const Work& two, size_t batches) {
      Bursts::Burst burst[2];
      std::thread other([&] { burst[1] = b.bursts_.Run(two, batches); });
      burst[0] = a.bursts_.Run(one, batches);
      other.join();
      return (burst[0].seconds + burst[1].seconds) / 2;
    };
    const size_t batches = a.bursts_.BatchesIn(a.TableRead(a.uniform_), 0.05);
    std::vector<double> runs;
    for (int run = 0; run < flags.runs; ++run) {
      std::vector<double> ratios;
      for (int pair = 0; pair < kPairs; ++pair) {
        const double limit =
            both(a.LimitRead(a.uniform_, read), b.LimitRead(b.uniform_, read), batches);
        ratios.push_back(limit / both(a.TableRead(a.uniform_), b.TableRead(b.uniform_), batches));
      }
      runs.push_back(SpreadOf(ratios).median);
    }
    const Spread spread = SpreadOf(runs);
    std::printf("lookup  dim %-4d uniform  two shards     %.3f [%.3f %.3f]\n", kDim, spread.median,
                spread.low, spread.high);
    std::printf("figure two_shards_lookup_dim%d %.4f\n", kDim, spread.median);
  }

  void Run() {
    for (const KeyBatches* batches : {&uniform_, &zipf_}) {
      const std::string keys = batches == &uniform_ ? "uniform" : "zipf";
      if (flags_.only.empty() || flags_.only == "lookup") Lookups(*batches, keys);
      if (flags_.only.empty() || flags_.only == "update") Updates(*batches, keys);
    }
  }

 private:
  float* Out(size_t batch) { return out_.data() + batch % kOutputs * kBatch * kDim; }
  const float* Gradients(size_t batch) {
    return gradients_.data() + batch % kOutputs * kBatch * kDim;
  }

  void MakeTable() {
    const double before = ResidentBytes();
    table_ = std::make_unique<ps::Table>(Settings(kDim), kPartitions, AllPartitions());
    std::vector<uint64_t> keys;
    for (size_t begin = 0; begin < order_.size(); begin += kBatch) {
      keys.clear();
      for (size_t i = begin; i < std::min(begin + kBatch, order_.size()); ++i) {
        keys.push_back(KeyOfRank(order_[i]));
      }
      slots_.resize(keys.size());
      table_->FindOrCreate(keys, slots_);
    }
    slots_.resize(kBatch);
    const double rows = flags_.rows;
    const double columns = (kDim + 1) * sizeof(float);  // weights and state
    const double resident = (ResidentBytes() - before) / rows - columns;
    const double said = static_cast<double>(table_->bytes()) / rows - columns;
    std::printf(
        "memory  dim %-4d bytes a row beyond weights and state: %.2f by RSS, %.2f as the "
        "table says\nfigure overhead_dim%d %.3f\n",
        kDim, resident, said, kDim, resident);
  }

  Work LimitRead(const KeyBatches& batches, Prefetch prefetch) {
    return [this, &batches, prefetch](size_t first, size_t count) {
      for (size_t b = first; b < first + count; ++b) {
        limit_.Read(batches.PositionsOf(b), Out(b), prefetch);
      }
    };
  }
  Work LimitUpdate(const KeyBatches& batches, Prefetch prefetch) {
    return [this, &batches, prefetch](size_t first, size_t count) {
      for (size_t b = first; b < first + count; ++b) {
        limit_.Update(batches.PositionsOf(b), Gradients(b), prefetch);
      }
    };
  }
  Work TableRead(const KeyBatches& batches) {
    return [this, &batches](size_t first, size_t count) {
      for (size_t b = first; b < first + count; ++b) {
        const std::span<const uint64_t> keys = batches.KeysOf(b);
        table_->Find(keys, slots_);
        table_->Read(keys, slots_, 1, {Out(b), kBatch * kDim}, {});
      }
    };
  }
  Work TableUpdate(const KeyBatches& batches) {
    return [this, &batches](size_t first, size_t count) {
      for (size_t b = first; b < first + count; ++b) {
        table_->Find(batches.KeysOf(b), slots_);
        table_->Update(slots_, {Gradients(b), kBatch * kDim}, {}, 1, 1);
      }
    };
  }

  void Lookups(const KeyBatches& batches, const std::string& keys) {
    const Prefetch read = Tune([&](Prefetch p) { return LimitRead(batches, p); });
    const Comparison lookup =
        bursts_.Compare(LimitRead(batches, read), TableRead(batches), flags_.runs, kPairs);
    report_->Add("lookup", kDim, keys, "emporium", lookup, read);
    if (flags_.peers && (kDim == 16 || kDim == 64)) Peers(batches, keys, read);
  }
  void Updates(const KeyBatches& batches, const std::string& keys) {
    const Prefetch update = Tune([&](Prefetch p) { return LimitUpdate(batches, p); });
    report_->Add(
        "update", kDim, keys, "emporium",
        bursts_.Compare(LimitUpdate(batches, update), TableUpdate(batches), flags_.runs, kPairs),
        update);
  }

  // The fastest prefetch of the sweep: each tried three times, its best time counts.
  template <class Make>
  Prefetch Tune(const Make& make) {
    Prefetch best;
    double best_s = 1e9;
    for (int round = 0; round < 3; ++round) {
      for (const bool second : {false, true}) {
        for (const size_t distance : {8u, 12u, 16u, 24u, 32u, 48u, 64u}) {
          const Prefetch prefetch{second, distance};
          const double s = bursts_.Run(make(prefetch), 16).seconds;
          if (s < best_s) {
            best_s = s;
            best = prefetch;
          }
        }
      }
    }
    return best;
  }

  // Hash maps to positions in the limit's array.
  void Peers(const KeyBatches& batches, const std::string& keys, Prefetch prefetch) {
#ifdef EMPORIUM_HAVE_ABSL
    {
      absl::flat_hash_map<uint64_t, uint32_t> map;
      Fill(map);
      Peer(batches, keys, prefetch, "absl_slab", map,
           [](const auto& m, uint64_t key) { m.prefetch(key); });
    }
#endif
    std::unordered_map<uint64_t, uint32_t> map;
    Fill(map);
    Peer(batches, keys, prefetch, "unordered_map", map, [](const auto&, uint64_t) {});
  }
  template <class Map>
  void Fill(Map& map) {
    map.reserve(order_.size());
    for (uint32_t i = 0; i < order_.size(); ++i) map.emplace(KeyOfRank(order_[i]), i);
  }
  template <class Map, class Ask>
  void Peer(const KeyBatches& batches, const std::string& keys, Prefetch prefetch,
            const std::string& name, const Map& map, const Ask& ask) {
    const Work work = [&](size_t first, size_t count) {
      constexpr size_t kAhead = 16;
      for (size_t b = first; b < first + count; ++b) {
        const std::span<const uint64_t> wanted = batches.KeysOf(b);
        for (size_t i = 0; i < kAhead; ++i) ask(map, wanted[i]);
        for (size_t i = 0; i < kBatch; ++i) {
          if (i + kAhead < kBatch) ask(map, wanted[i + kAhead]);
          slots_[i] = map.find(wanted[i])->second;
        }
        limit_.Read(slots_, Out(b), prefetch);
      }
    };
    report_->Add("lookup", kDim, keys, name,
                 bursts_.Compare(LimitRead(batches, prefetch), work, flags_.runs, kPairs),
                 prefetch);
    const Comparison direct = bursts_.Compare(work, TableRead(batches), flags_.runs, kPairs);
    std::printf("        dim %-4d %-8s emporium over %s: %.2f [%.2f %.2f]\n", kDim, keys.c_str(),
                name.c_str(), direct.ratio.median, direct.ratio.low, direct.ratio.high);
    std::printf("figure over_%s_%s_dim%d %.3f\n", name.c_str(), keys.c_str(), kDim,
                direct.ratio.median);
  }

  const Flags& flags_;
  Report* const report_;
  const std::vector<uint32_t> order_;
  const KeyBatches uniform_;
  const KeyBatches zipf_;
  const RowArray<kDim> limit_;
  HugeArray<float> out_;
  HugeArray<float> gradients_;
  std::vector<ps::Slot> slots_;
  std::unique_ptr<ps::Table> table_;
  Bursts bursts_;
};

template <int kDim>
void RunWidth(const Flags& flags, Report* report) {
  if (flags.two_shards) return Width<kDim>::RunTwo(flags, report);
  std::make_unique<Width<kDim>>(flags, report)->Run();
}

int Main(const Flags& flags) {
  Report report(flags.csv);
  for (const int dim : flags.dims) {
    switch (dim) {
      case 8:
        RunWidth<8>(flags, &report);
        break;
      case 16:
        RunWidth<16>(flags, &report);
        break;
      case 32:
        RunWidth<32>(flags, &report);
        break;
      case 64:
        RunWidth<64>(flags, &report);
        break;
      case 128:
        RunWidth<128>(flags, &report);
        break;
      default:
        std::fprintf(stderr, "no width %d; there are 8, 16, 32, 64, 128\n", dim);
        return 2;
    }
  }
  return 0;
}

std::vector<int> Numbers(const std::string& text) {
  std::vector<int> numbers;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) numbers.push_back(std::stoi(word));
  return numbers;
}

}  // namespace
}  // namespace emporium::bench

int main(int argc, char** argv) {
  emporium::bench::Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const bool more = i + 1 < argc;
    if (flag == "--peers") {
      flags.peers = true;
    } else if (flag == "--small-pages") {
      flags.huge = false;
      prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);  // the table's pages too
    } else if (flag == "--two-shards") {
      flags.two_shards = true;
    } else if (flag == "--dims" && more) {
      flags.dims = emporium::bench::Numbers(argv[++i]);
    } else if (flag == "--rows" && more) {
      flags.rows = static_cast<uint32_t>(std::stoul(argv[++i]));
    } else if (flag == "--runs" && more) {
      flags.runs = std::stoi(argv[++i]);
    } else if (flag == "--only" && more) {
      flags.only = argv[++i];
    } else if (flag == "--csv" && more) {
      flags.csv = argv[++i];
    } else {
      std::fprintf(stderr, "bench_table: unknown flag %s; see bench/table_main.cc\n", argv[i]);
      return 2;
    }
  }
  if (flags.two_shards) flags.rows /= 2;
  return emporium::bench::Main(flags);
}
