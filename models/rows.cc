#include "models/rows.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "proto/check.h"

namespace emporium::models {

namespace {

using torch::autograd::Node;
using torch::autograd::variable_list;

// Output rows of one block stay in the cache while all parts are added to them.
constexpr int32_t kRowsPerBlock = 64;

float* Data(const at::Tensor& tensor) { return tensor.data_ptr<float>(); }
std::span<float> Span(const at::Tensor& tensor) {
  return {Data(tensor), static_cast<size_t>(tensor.numel())};
}

// Hangs `node` behind `output`. LibTorch's graph shares nodes, hence the shared_ptr.
void Attach(const at::Tensor& output, Node* node, const std::vector<at::Tensor>& inputs) {
  std::shared_ptr<Node> shared(node, torch::autograd::deleteNode);
  shared->set_next_edges(torch::autograd::collect_next_edges(inputs));
  torch::autograd::set_history(output, shared);
}

struct AssembleNode final : Node {
  std::vector<RowPart> parts;  // `source` released: only its shape is needed
  std::vector<int64_t> source_rows;

  variable_list apply(variable_list&& gradients) override {
    variable_list result;
    std::vector<float*> sinks;
    for (size_t p = 0; p < parts.size(); ++p) {
      float* sink = parts[p].table != nullptr ? parts[p].table->gradient : nullptr;
      if (source_rows[p] >= 0) {
        result.push_back(at::zeros({source_rows[p], parts[p].dim}, at::kFloat));
        sink = Data(result.back());
      }
      sinks.push_back(sink);
    }
    if (!gradients[0].defined()) return result;
    const at::Tensor gradient = gradients[0].contiguous();
    const auto rows = static_cast<int32_t>(gradient.size(0));
    const int64_t width = gradient.size(1);
    for (int32_t from = 0; from < rows; from += kRowsPerBlock) {
      const int32_t to = std::min(rows, from + kRowsPerBlock);
      for (size_t p = 0; p < parts.size(); ++p) {
        if (sinks[p] == nullptr) continue;
        ScatterAddRows(Data(gradient) + parts[p].column, width, parts[p].dim, parts[p].lists, from,
                       to, parts[p].weight, sinks[p]);
      }
    }
    return result;
  }
};

struct AgePoolNode final : Node {
  at::Tensor items, by_age, by_count, shares;  // values only
  std::vector<PoolEvent> events;
  std::span<const int32_t> offset;

  variable_list apply(variable_list&& gradients) override {
    variable_list result = {at::zeros(items.sizes(), at::kFloat),
                            at::zeros(by_age.sizes(), at::kFloat),
                            at::zeros(by_count.sizes(), at::kFloat)};
    if (!gradients[0].defined()) return result;
    const at::Tensor gradient = gradients[0].contiguous();
    AgePoolBackward(Data(items), static_cast<int32_t>(items.size(1)), events, offset, Data(shares),
                    Data(gradient), Data(result[0]), Data(result[1]), Data(result[2]));
    return result;
  }
};

struct FactorizationNode final : Node {
  at::Tensor x, sums;  // values only
  int32_t fields = 0;
  int32_t dim = 0;

  variable_list apply(variable_list&& gradients) override {
    at::Tensor result = at::zeros(x.sizes(), at::kFloat);
    if (!gradients[0].defined()) return {result};
    const at::Tensor gradient = gradients[0].contiguous();
    FactorizationMachineBackward(Data(x), x.size(1), static_cast<int32_t>(x.size(0)), fields, dim,
                                 Data(sums), Data(gradient), Data(result));
    return {result};
  }
};

struct CounterNode final : Node {
  const float* counters = nullptr;
  std::span<const int32_t> rows;
  int64_t n = 0;
  int64_t width = 0;

  variable_list apply(variable_list&& gradients) override {
    at::Tensor result = at::zeros({width}, at::kFloat);
    if (!gradients[0].defined()) return {result};
    const at::Tensor gradient = gradients[0].contiguous();
    WeighCountersBackward(counters, rows, n, Data(gradient), Span(result));
    return {result};
  }
};

bool WantsGradient(const RowPart& part) {
  if (part.table != nullptr) return part.table->gradient != nullptr;
  return part.source.defined() && part.source.requires_grad();
}

// Whether an earlier part names the columns of parts[p] already.
bool Repeats(const std::vector<RowPart>& parts, size_t p) {
  for (size_t q = 0; q < p; ++q) {
    if (parts[q].column == parts[p].column) {
      EMPORIUM_CHECK(parts[q].dim == parts[p].dim, "parts of the same columns have one width");
      return true;
    }
  }
  return false;
}

const float* ValuesOf(const RowPart& part) {
  if (part.table != nullptr) return part.table->values;
  return part.source.defined() ? Data(part.source) : part.constant;
}

}  // namespace

Lists ListsOf(const RowLists& lists, PoolKind pool) {
  Lists result;
  result.index = lists.index.data();
  result.pool = pool;
  bool single = lists.index.size() + 1 == lists.offset.size();
  for (size_t i = 0; single && i < lists.offset.size(); ++i) {
    single = lists.offset[i] == static_cast<int32_t>(i);
  }
  if (!single) {
    result.begin = lists.offset.data();
    result.end = lists.offset.data() + 1;
  }
  return result;
}

Lists ListsOf(std::span<const int32_t> index) {
  Lists result;
  result.index = index.data();
  return result;
}

RowPart TablePart(const Pass& pass, const RowLists& lists, PoolKind pool, int32_t dim) {
  RowPart part;
  part.lists = ListsOf(lists, pool);
  part.dim = dim;
  if (!lists.index.empty()) part.table = &pass.table(lists.table);
  return part;
}

at::Tensor AssembleRows(Pass& pass, int64_t rows, int64_t width, std::vector<RowPart> parts) {
  std::vector<bool> repeats;
  std::vector<at::Tensor> inputs;
  std::vector<int64_t> source_rows;
  int64_t covered = 0;
  bool wants_gradient = false;
  for (size_t p = 0; p < parts.size(); ++p) {
    RowPart& part = parts[p];
    if (part.table != nullptr) part.dim = part.table->dim;
    if (part.source.defined()) {
      part.source = part.source.contiguous();
      part.dim = static_cast<int32_t>(part.source.size(1));
    }
    repeats.push_back(Repeats(parts, p));
    if (!repeats.back()) covered += part.dim;
    wants_gradient = wants_gradient || WantsGradient(part);
  }
  EMPORIUM_CHECK(covered == width, "the parts name every column");
  at::Tensor out = at::empty({rows, width}, at::kFloat);
  for (int32_t from = 0; from < rows; from += kRowsPerBlock) {
    const auto to = static_cast<int32_t>(std::min<int64_t>(rows, from + kRowsPerBlock));
    for (size_t p = 0; p < parts.size(); ++p) {
      GatherRows(ValuesOf(parts[p]), parts[p].dim, parts[p].lists, from, to, parts[p].weight,
                 repeats[p], Data(out) + parts[p].column, width);
    }
  }
  if (!pass.training() || !wants_gradient) return out;
  for (RowPart& part : parts) {
    const bool source = part.source.defined() && part.source.requires_grad();
    source_rows.push_back(source ? part.source.size(0) : -1);
    if (source) inputs.push_back(part.source);
    part.source = at::Tensor();
  }
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): Attach hands it to LibTorch's deleter
  auto* node = new AssembleNode;
  node->parts = std::move(parts);
  node->source_rows = std::move(source_rows);
  Attach(out, node, inputs);
  return out;
}

at::Tensor TakeRows(Pass& pass, const at::Tensor& source, std::span<const int32_t> index) {
  RowPart part;
  part.source = source;
  part.lists = ListsOf(index);
  return AssembleRows(pass, static_cast<int64_t>(index.size()), source.size(1), {part});
}

at::Tensor AgePoolRows(const at::Tensor& items, const at::Tensor& by_age,
                       const at::Tensor& by_count, std::vector<PoolEvent> events,
                       std::span<const int32_t> offset) {
  const auto dim = static_cast<int32_t>(items.size(1));
  const at::Tensor values = items.detach().contiguous();
  at::Tensor out = at::empty({static_cast<int64_t>(offset.size()) - 1, dim}, at::kFloat);
  const at::Tensor shares = at::empty({static_cast<int64_t>(events.size())}, at::kFloat);
  AgePool(Data(values), dim, Data(by_age), Data(by_count), events, offset, Data(shares), Data(out));
  if (!at::GradMode::is_enabled() || !by_age.requires_grad()) return out;
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): Attach hands it to LibTorch's deleter
  auto* node = new AgePoolNode;
  node->items = values;
  node->by_age = by_age.detach();
  node->by_count = by_count.detach();
  node->shares = shares;
  node->events = std::move(events);
  node->offset = offset;
  Attach(out, node, {items, by_age, by_count});
  return out;
}

at::Tensor FactorizationMachineOf(const at::Tensor& x, int32_t fields, int32_t dim) {
  const auto samples = static_cast<int32_t>(x.size(0));
  const at::Tensor values = x.detach().contiguous();
  at::Tensor out = at::empty({samples}, at::kFloat);
  const at::Tensor sums = at::empty({samples, dim}, at::kFloat);
  FactorizationMachine(Data(values), values.size(1), samples, fields, dim, Data(sums), Data(out));
  if (!at::GradMode::is_enabled() || !x.requires_grad()) return out;
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): Attach hands it to LibTorch's deleter
  auto* node = new FactorizationNode;
  node->x = values;
  node->sums = sums;
  node->fields = fields;
  node->dim = dim;
  Attach(out, node, {x});
  return out;
}

at::Tensor WeighCountersBy(const at::Tensor& beta, const float* counters,
                           std::span<const int32_t> rows, int64_t n) {
  at::Tensor out = at::empty({n}, at::kFloat);
  WeighCounters(counters, rows, n, Span(beta), Data(out));
  if (!at::GradMode::is_enabled() || !beta.requires_grad()) return out;
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): Attach hands it to LibTorch's deleter
  auto* node = new CounterNode;
  node->counters = counters;
  node->rows = rows;
  node->n = n;
  node->width = beta.numel();
  Attach(out, node, {beta});
  return out;
}

}  // namespace emporium::models
