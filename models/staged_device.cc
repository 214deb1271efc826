#include "models/staged_device.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "proto/check.h"

namespace emporium::models {
namespace {

constexpr size_t kAlign = 256;  // as device memory is aligned: any vector load fits
constexpr size_t kFirstBlock = size_t{1} << 20;

size_t Aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// Blocks of staging memory, filled one after another.
class Arena {
 public:
  explicit Arena(Backend* backend) : backend_(backend) {}
  ~Arena() { Release(); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Empties it. Memory that came in several blocks becomes one, so that a steady load has one.
  void Reset() {
    used_ = sent_ = 0;
    if (blocks_.size() < 2) return;
    size_t bytes = 0;
    for (const Backend::Block& block : blocks_) bytes += block.bytes;
    Release();
    blocks_.push_back(backend_->Allocate(bytes));
  }

  struct Piece {
    std::byte* host = nullptr;
    std::byte* device = nullptr;
  };
  Piece Take(size_t bytes) {
    const size_t size = Aligned(std::max<size_t>(bytes, 1));
    if (blocks_.empty() || used_ + size > blocks_.back().bytes) {
      Send();
      const size_t last = blocks_.empty() ? 0 : blocks_.back().bytes;
      blocks_.push_back(backend_->Allocate(std::max({size, 2 * last, kFirstBlock})));
      used_ = sent_ = 0;
    }
    const Backend::Block& block = blocks_.back();
    const Piece piece = {block.host + used_, block.device + used_};
    used_ += size;
    return piece;
  }

  // Sends what was taken since the last time.
  void Send() {
    if (sent_ < used_) backend_->Send(blocks_.back(), sent_, used_);
    sent_ = used_;
  }

 private:
  void Release() {
    for (const Backend::Block& block : blocks_) backend_->Free(block);
    blocks_.clear();
  }

  Backend* const backend_;
  std::vector<Backend::Block> blocks_;
  size_t used_ = 0;  // of the last block; the others are full and sent
  size_t sent_ = 0;
};

// Entries of the index array that the lists [0, rows) reach.
size_t IndexSize(const Lists& lists, int32_t rows) {
  if (lists.index == nullptr) return 0;
  if (lists.begin == nullptr) return static_cast<size_t>(rows);
  return static_cast<size_t>(rows == 0 ? 0 : *std::max_element(lists.end, lists.end + rows));
}

class StagedDevice final : public Device, private RowKernels {
 public:
  explicit StagedDevice(std::unique_ptr<Backend> backend)
      : backend_(std::move(backend)), sent_(backend_.get()), received_(backend_.get()) {}

  const Place& place() const override { return backend_->place(); }
  void Begin() override {
    backend_->Wait();
    sent_.Reset();
  }
  const void* Put(const void* host, size_t bytes) override {
    const Arena::Piece piece = Stage(host, bytes);
    sent_.Send();
    return piece.device;
  }
  void Get(std::span<const Copy> copies) override;
  RowKernels& kernels() override { return *this; }

 private:
  void Assemble(const Assembly& assembly, float* out) override;
  void AssembleBackward(const Assembly& assembly, const float* gradient) override;
  void PoolByAge(const AgePoolInputs& in, float* shares, float* out) override;
  void PoolByAgeBackward(const AgePoolInputs& in, const float* shares, const float* out_gradient,
                         float* items_gradient, float* by_age_gradient,
                         float* by_count_gradient) override;
  void Factorize(const FactorizationInputs& in, float* sums, float* out) override;
  void FactorizeBackward(const FactorizationInputs& in, const float* sums,
                         const float* out_gradient, float* gradient_x) override;
  void Weigh(const CounterInputs& in, const float* beta, float* out) override;
  void WeighBackward(const CounterInputs& in, const float* gradient, float* beta_gradient) override;

  // A copy in staging memory that goes over with the next Run or Put.
  Arena::Piece Stage(const void* host, size_t bytes) {
    const Arena::Piece piece = sent_.Take(bytes);
    if (bytes > 0) std::memcpy(piece.host, host, bytes);
    return piece;
  }
  template <class T>
  const T* StageArray(const T* host, size_t n) {
    return reinterpret_cast<const T*>(Stage(host, n * sizeof(T)).device);
  }
  template <class T>
  const T* StageArray(std::span<const T> host) {
    return StageArray(host.data(), host.size());
  }
  Lists StageLists(const Lists& lists, int32_t rows);
  // Device memory until the next Begin, not initialised.
  template <class T>
  T* Scratch(size_t n) {
    return reinterpret_cast<T*>(sent_.Take(n * sizeof(T)).device);
  }
  void Run(const DeviceTask& task) {
    sent_.Send();
    backend_->Run(task);
  }
  // Adds the plan's terms, times its factors or those of ScatterTask (of the device's memory).
  void Scatter(const ScatterPlan& plan, const float* source, int32_t width, float* target);
  void Scatter(const ScatterPlan& plan, const float* factor, const int32_t* factor_from,
               const float* source, int32_t width, float* target);

  const std::unique_ptr<Backend> backend_;
  Arena sent_;
  Arena received_;
};

void StagedDevice::Get(std::span<const Copy> copies) {
  received_.Reset();
  std::vector<std::byte*> pinned;
  pinned.reserve(copies.size());
  for (const Copy& copy : copies) {
    pinned.push_back(received_.Take(copy.bytes).host);
    if (copy.bytes > 0) backend_->Receive(copy.from, pinned.back(), copy.bytes);
  }
  backend_->Wait();
  for (size_t i = 0; i < copies.size(); ++i) {
    if (copies[i].bytes > 0) std::memcpy(copies[i].to, pinned[i], copies[i].bytes);
  }
}

Lists StagedDevice::StageLists(const Lists& lists, int32_t rows) {
  Lists result = lists;
  if (lists.index != nullptr) result.index = StageArray(lists.index, IndexSize(lists, rows));
  if (lists.begin != nullptr) {
    result.begin = StageArray(lists.begin, static_cast<size_t>(rows));
    result.end = StageArray(lists.end, static_cast<size_t>(rows));
  }
  return result;
}

void StagedDevice::Assemble(const Assembly& assembly, float* out) {
  std::vector<GatherTask::Part> parts;
  std::vector<GatherTask::Group> groups;
  parts.reserve(assembly.parts.size());
  GatherTask task = {};
  for (const AssemblyPart& first : assembly.parts) {
    if (first.add) continue;
    GatherTask::Group group = {static_cast<int32_t>(parts.size()), 0, first.column, first.dim};
    for (const AssemblyPart& part : assembly.parts) {
      if (part.column != first.column) continue;
      parts.push_back({part.values, StageLists(part.lists, assembly.rows), part.weight});
    }
    group.last = static_cast<int32_t>(parts.size());
    groups.push_back(group);
    task.width = std::max(task.width, first.dim);
  }
  task.parts = StageArray(std::span<const GatherTask::Part>(parts));
  task.groups = StageArray(std::span<const GatherTask::Group>(groups));
  task.rows = assembly.rows;
  task.stride = assembly.width;
  task.out = out;
  task.items = static_cast<int64_t>(groups.size()) * assembly.rows;
  Run(task);
}

void StagedDevice::AssembleBackward(const Assembly& assembly, const float* gradient) {
  std::vector<const float*> done;
  for (const AssemblyPart& part : assembly.parts) {
    if (part.sink == nullptr) continue;
    if (std::find(done.begin(), done.end(), part.sink) != done.end()) continue;
    done.push_back(part.sink);
    const std::vector<ScatterTerm> terms = TermsOf(assembly, part.sink);
    Scatter(PlanScatter(terms, part.sink_rows), gradient, part.dim, part.sink);
  }
}

void StagedDevice::Scatter(const ScatterPlan& plan, const float* source, int32_t width,
                           float* target) {
  Scatter(plan, StageArray(std::span(plan.factor)), nullptr, source, width, target);
}

void StagedDevice::Scatter(const ScatterPlan& plan, const float* factor, const int32_t* factor_from,
                           const float* source, int32_t width, float* target) {
  ScatterTask task = {};
  task.row = StageArray(std::span(plan.row));
  task.begin = StageArray(std::span(plan.begin));
  task.from = StageArray(std::span(plan.from));
  task.factor = factor;
  task.factor_from = factor_from;
  task.source = source;
  task.target = target;
  task.items = static_cast<int64_t>(plan.row.size());
  task.width = width;
  Run(task);
}

void StagedDevice::PoolByAge(const AgePoolInputs& in, float* shares, float* out) {
  const PoolEvent* events = StageArray(in.events);
  const int32_t* offset = StageArray(in.offset);
  const auto samples = static_cast<int64_t>(in.offset.size()) - 1;
  Run(AgeSharesTask{in.by_age, in.by_count, events, offset, shares, samples, 1});
  Run(AgeSumTask{in.items, events, offset, shares, out, samples, in.dim});
}

void StagedDevice::PoolByAgeBackward(const AgePoolInputs& in, const float* shares,
                                     const float* out_gradient, float* items_gradient,
                                     float* by_age_gradient, float* by_count_gradient) {
  const auto samples = static_cast<int64_t>(in.offset.size()) - 1;
  const auto n = static_cast<int64_t>(in.events.size());
  std::vector<int32_t> sample_of(in.events.size());
  std::vector<ScatterTerm> items, ages, counts;
  items.reserve(in.events.size());
  ages.reserve(in.events.size());
  counts.reserve(in.events.size());
  for (int64_t b = 0; b < samples; ++b) {
    for (int32_t j = in.offset[b]; j < in.offset[b + 1]; ++j) {
      sample_of[j] = static_cast<int32_t>(b);
      items.push_back({in.events[j].item, j, 1});
      ages.push_back({in.events[j].age, j, 1});
      counts.push_back({in.events[j].count, j, 1});
    }
  }
  auto* const pull = Scratch<float>(in.events.size());
  Run(AgePullTask{in.items, StageArray(in.events), StageArray(std::span<const int32_t>(sample_of)),
                  out_gradient, in.dim, pull, n, 1});
  Run(AgeLogitTask{StageArray(in.offset), shares, pull, samples, 1});
  Scatter(PlanScatter(ages, in.ages), pull, 1, by_age_gradient);
  Scatter(PlanScatter(counts, in.counts), pull, 1, by_count_gradient);
  // An event's term is its share of its sample's gradient.
  ScatterPlan plan = PlanScatter(items, in.rows);
  std::vector<int32_t> event(plan.from.begin(), plan.from.end());
  for (int64_t& from : plan.from) from = int64_t{sample_of[from]} * in.dim;
  Scatter(plan, shares, StageArray(std::span<const int32_t>(event)), out_gradient, in.dim,
          items_gradient);
}

void StagedDevice::Factorize(const FactorizationInputs& in, float* sums, float* out) {
  Run(FmSumTask{in.x, in.stride, in.fields, sums, in.samples, in.dim});
  Run(FmOutTask{in.x, in.stride, in.fields, in.dim, sums, out, in.samples, 1});
}

void StagedDevice::FactorizeBackward(const FactorizationInputs& in, const float* sums,
                                     const float* out_gradient, float* gradient_x) {
  Run(FmGradientTask{in.x, in.stride, in.dim, sums, out_gradient, gradient_x, in.samples,
                     in.fields * in.dim});
}

void StagedDevice::Weigh(const CounterInputs& in, const float* beta, float* out) {
  const int32_t* rows = in.rows.empty() ? nullptr : StageArray(in.rows);
  Run(CounterTask{in.counters, rows, beta, in.width, out, in.n, 1});
}

void StagedDevice::WeighBackward(const CounterInputs& in, const float* gradient,
                                 float* beta_gradient) {
  const int32_t* rows = in.rows.empty() ? nullptr : StageArray(in.rows);
  const int64_t chunks = (in.n + CounterChunkTask::kTerms - 1) / CounterChunkTask::kTerms;
  auto* const sums = Scratch<double>(static_cast<size_t>(chunks * in.width));
  Run(CounterChunkTask{in.counters, rows, in.n, gradient, sums, chunks, in.width});
  Run(CounterTotalTask{sums, chunks, beta_gradient, 1, in.width});
}

}  // namespace

ScatterPlan PlanScatter(std::span<const ScatterTerm> terms, int32_t rows) {
  std::vector<int32_t> next(static_cast<size_t>(rows) + 1, 0);  // counts, then places
  for (const ScatterTerm& term : terms) {
    EMPORIUM_CHECK(term.row >= 0 && term.row < rows, "a term names a row that is there");
    ++next[static_cast<size_t>(term.row) + 1];
  }
  ScatterPlan plan;
  plan.begin.push_back(0);
  for (int32_t row = 0; row < rows; ++row) {
    if (next[row + 1] > 0) {
      plan.row.push_back(row);
      plan.begin.push_back(plan.begin.back() + next[row + 1]);
    }
    next[row + 1] += next[row];
  }
  plan.from.resize(terms.size());
  plan.factor.resize(terms.size());
  for (const ScatterTerm& term : terms) {
    const int32_t at = next[term.row]++;
    plan.from[at] = term.from;
    plan.factor[at] = term.factor;
  }
  return plan;
}

std::vector<ScatterTerm> TermsOf(const Assembly& assembly, const float* sink) {
  std::vector<ScatterTerm> terms;
  const auto add = [&terms, &assembly](const AssemblyPart& part, int32_t i) {
    const Lists& lists = part.lists;
    const int64_t from = i * assembly.width + part.column;
    if (lists.begin == nullptr) {
      const int32_t row = lists.index == nullptr ? i : lists.index[i];
      if (row >= 0) terms.push_back({row, from, part.weight});
      return;
    }
    const int32_t begin = lists.begin[i];
    const int32_t end = lists.end[i];
    if (begin == end) return;
    const float factor = part.weight * PoolFactor(lists.pool, end - begin);
    for (int32_t j = begin; j < end; ++j) terms.push_back({lists.index[j], from, factor});
  };
  for (int32_t from = 0; from < assembly.rows; from += kRowsPerBlock) {
    const int32_t to = std::min(assembly.rows, from + kRowsPerBlock);
    for (const AssemblyPart& part : assembly.parts) {
      if (part.sink != sink) continue;
      for (int32_t i = from; i < to; ++i) add(part, i);
    }
  }
  return terms;
}

std::unique_ptr<Device> MakeStagedDevice(std::unique_ptr<Backend> backend) {
  return std::make_unique<StagedDevice>(std::move(backend));
}

}  // namespace emporium::models
