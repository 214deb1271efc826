#include "models/rows.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "proto/check.h"

namespace emporium::models {

namespace {

using torch::autograd::Node;
using torch::autograd::variable_list;

float* Data(const at::Tensor& tensor) { return tensor.data_ptr<float>(); }
int32_t Count(const at::Tensor& tensor) { return static_cast<int32_t>(tensor.numel()); }

// Hangs `node` behind `output`. LibTorch's graph shares nodes, hence the shared_ptr.
void Attach(const at::Tensor& output, Node* node, const std::vector<at::Tensor>& inputs) {
  std::shared_ptr<Node> shared(node, torch::autograd::deleteNode);
  shared->set_next_edges(torch::autograd::collect_next_edges(inputs));
  torch::autograd::set_history(output, shared);
}

struct AssembleNode final : Node {
  Device* device = nullptr;
  Assembly assembly;                 // sinks of tables filled in
  std::vector<int64_t> source_rows;  // by part; negative: no gradient of a tensor is wanted
  at::TensorOptions options;

  variable_list apply(variable_list&& gradients) override {
    variable_list result;
    for (size_t p = 0; p < assembly.parts.size(); ++p) {
      if (source_rows[p] < 0) continue;
      AssemblyPart& part = assembly.parts[p];
      result.push_back(at::zeros({source_rows[p], part.dim}, options));
      part.sink = Data(result.back());
      part.sink_rows = static_cast<int32_t>(source_rows[p]);
    }
    if (!gradients[0].defined()) return result;
    const at::Tensor gradient = gradients[0].contiguous();
    device->kernels().AssembleBackward(assembly, Data(gradient));
    return result;
  }
};

struct AgePoolNode final : Node {
  Device* device = nullptr;
  at::Tensor items, by_age, by_count, shares;  // values only
  std::vector<PoolEvent> events;
  std::span<const int32_t> offset;

  AgePoolInputs Inputs() const {
    AgePoolInputs in;
    in.items = Data(items);
    in.dim = static_cast<int32_t>(items.size(1));
    in.rows = static_cast<int32_t>(items.size(0));
    in.by_age = Data(by_age);
    in.ages = Count(by_age);
    in.by_count = Data(by_count);
    in.counts = Count(by_count);
    in.events = events;
    in.offset = offset;
    return in;
  }

  variable_list apply(variable_list&& gradients) override {
    variable_list result = {at::zeros(items.sizes(), items.options()),
                            at::zeros(by_age.sizes(), items.options()),
                            at::zeros(by_count.sizes(), items.options())};
    if (!gradients[0].defined()) return result;
    const at::Tensor gradient = gradients[0].contiguous();
    device->kernels().PoolByAgeBackward(Inputs(), Data(shares), Data(gradient), Data(result[0]),
                                        Data(result[1]), Data(result[2]));
    return result;
  }
};

struct FactorizationNode final : Node {
  Device* device = nullptr;
  at::Tensor x, sums;  // values only
  int32_t fields = 0;
  int32_t dim = 0;

  FactorizationInputs Inputs() const {
    return {Data(x), x.size(1), static_cast<int32_t>(x.size(0)), fields, dim};
  }

  variable_list apply(variable_list&& gradients) override {
    at::Tensor result = at::zeros(x.sizes(), x.options());
    if (!gradients[0].defined()) return {result};
    const at::Tensor gradient = gradients[0].contiguous();
    device->kernels().FactorizeBackward(Inputs(), Data(sums), Data(gradient), Data(result));
    return {result};
  }
};

struct CounterNode final : Node {
  Device* device = nullptr;
  CounterInputs in;
  at::TensorOptions options;

  variable_list apply(variable_list&& gradients) override {
    at::Tensor result = at::zeros({in.width}, options);
    if (!gradients[0].defined()) return {result};
    const at::Tensor gradient = gradients[0].contiguous();
    device->kernels().WeighBackward(in, Data(gradient), Data(result));
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

const float* ValuesOf(const Pass& pass, const RowPart& part, int64_t rows) {
  if (part.table != nullptr) return part.table->values;
  if (part.source.defined()) return Data(part.source);
  const size_t bytes = sizeof(float) * static_cast<size_t>(rows) * part.dim;
  return static_cast<const float*>(pass.device().Put(part.constant, bytes));
}

}  // namespace

Lists ListsOf(const RowLists& lists, PoolKind pool) {
  Lists result;
  result.index = lists.index.data();
  result.pool = pool;
  result.count = lists.lists();
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
  result.count = static_cast<int32_t>(index.size());
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
  Assembly assembly;
  assembly.rows = static_cast<int32_t>(rows);
  assembly.width = width;
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
    AssemblyPart made;
    made.values = ValuesOf(pass, part, rows);
    made.sink = part.table != nullptr ? part.table->gradient : nullptr;
    made.sink_rows = part.table != nullptr ? part.table->rows : 0;
    made.lists = part.lists;
    made.dim = part.dim;
    made.column = part.column;
    made.weight = part.weight;
    made.add = Repeats(parts, p);
    if (!made.add) covered += part.dim;
    wants_gradient = wants_gradient || WantsGradient(part);
    assembly.parts.push_back(made);
  }
  EMPORIUM_CHECK(covered == width, "the parts name every column");
  at::Tensor out = at::empty({rows, width}, pass.options());
  pass.device().kernels().Assemble(assembly, Data(out));
  if (!pass.training() || !wants_gradient) return out;
  for (const RowPart& part : parts) {
    const bool source = part.source.defined() && part.source.requires_grad();
    source_rows.push_back(source ? part.source.size(0) : -1);
    if (source) inputs.push_back(part.source);
  }
  auto node = std::make_unique<AssembleNode>();
  node->device = &pass.device();
  node->assembly = std::move(assembly);
  node->source_rows = std::move(source_rows);
  node->options = pass.options();
  Attach(out, node.release(), inputs);
  return out;
}

at::Tensor TakeRows(Pass& pass, const at::Tensor& source, std::span<const int32_t> index) {
  RowPart part;
  part.source = source;
  part.lists = ListsOf(index);
  return AssembleRows(pass, static_cast<int64_t>(index.size()), source.size(1), {part});
}

at::Tensor PoolRows(Pass& pass, const at::Tensor& source, std::span<const int32_t> offset,
                    PoolKind pool) {
  std::vector<int32_t> every(static_cast<size_t>(source.size(0)));
  std::iota(every.begin(), every.end(), 0);
  RowPart part;
  part.source = source;
  part.lists.index = pass.Keep(std::move(every)).data();
  part.lists.begin = offset.data();
  part.lists.end = offset.data() + 1;
  part.lists.pool = pool;
  part.lists.count = static_cast<int32_t>(offset.size()) - 1;
  return AssembleRows(pass, part.lists.count, source.size(1), {part});
}

at::Tensor AgePoolRows(Pass& pass, const at::Tensor& items, const at::Tensor& by_age,
                       const at::Tensor& by_count, std::vector<PoolEvent> events,
                       std::span<const int32_t> offset) {
  at::Tensor out =
      at::empty({static_cast<int64_t>(offset.size()) - 1, items.size(1)}, pass.options());
  auto node = std::make_unique<AgePoolNode>();
  node->device = &pass.device();
  node->items = items.detach().contiguous();
  node->by_age = by_age.detach();
  node->by_count = by_count.detach();
  node->shares = at::empty({static_cast<int64_t>(events.size())}, pass.options());
  node->events = std::move(events);
  node->offset = offset;
  pass.device().kernels().PoolByAge(node->Inputs(), Data(node->shares), Data(out));
  if (!at::GradMode::is_enabled() || !by_age.requires_grad()) return out;
  Attach(out, node.release(), {items, by_age, by_count});
  return out;
}

at::Tensor FactorizationMachineOf(Pass& pass, const at::Tensor& x, int32_t fields, int32_t dim) {
  const int64_t samples = x.size(0);
  at::Tensor out = at::empty({samples}, pass.options());
  auto node = std::make_unique<FactorizationNode>();
  node->device = &pass.device();
  node->x = x.detach().contiguous();
  node->sums = at::empty({samples, dim}, pass.options());
  node->fields = fields;
  node->dim = dim;
  pass.device().kernels().Factorize(node->Inputs(), Data(node->sums), Data(out));
  if (!at::GradMode::is_enabled() || !x.requires_grad()) return out;
  Attach(out, node.release(), {x});
  return out;
}

at::Tensor WeighCountersBy(Pass& pass, const at::Tensor& beta, std::span<const float> counters,
                           std::span<const int32_t> rows, int64_t n) {
  at::Tensor out = at::empty({n}, pass.options());
  auto node = std::make_unique<CounterNode>();
  node->device = &pass.device();
  node->in.counters =
      static_cast<const float*>(pass.device().Put(counters.data(), counters.size_bytes()));
  node->in.rows = rows;
  node->in.n = n;
  node->in.width = Count(beta);
  node->options = pass.options();
  pass.device().kernels().Weigh(node->in, Data(beta), Data(out));
  if (!at::GradMode::is_enabled() || !beta.requires_grad()) return out;
  Attach(out, node.release(), {beta});
  return out;
}

}  // namespace emporium::models
