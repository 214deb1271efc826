// What a shard serves over loopback TCP, beside what ZeroMQ carries: pulls and pushes of 8192 rows
// at a time, in turn with messages of the same sizes that nobody looks into.
//
//   bench_wire [--rows=N] [--bursts=N] [--burst_seconds=S]
//
// One shard in its thread; the client builds its frames and puts the rows that come back where a
// batch would have them, in one thread more; libzmq has a thread for each side.
#include <gflags/gflags.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bench/cpu_time.h"
#include "proto/check.h"
#include "ps/shard_thread.h"
#include "runtime/heap.h"
#include "runtime/transport.h"
#include "worker/key_split.h"

DEFINE_uint64(rows, 2'000'000, "rows of the table");
DEFINE_int32(bursts, 15, "bursts of each kind");
DEFINE_double(burst_seconds, 0.25, "length of a burst");
DEFINE_uint32(depth, 4, "requests under way in the bursts that measure rates");

namespace emporium::bench {
namespace {

using std::chrono::steady_clock;

constexpr uint32_t kDim = 64;
constexpr size_t kBatch = 8192;
constexpr size_t kBatches = 64;  // different ones
// A burst counts when other processes took less than this share of one core.
constexpr double kForeign = 0.15;

double SecondsSince(steady_clock::time_point begin) {
  return std::chrono::duration<double>(steady_clock::now() - begin).count();
}

// Processor time that the machine has spent on anything since it started.
double MachineSeconds() { return static_cast<double>(ReadMachineTicks().busy) / 100; }

double MedianOf(std::vector<double> values, double at = 0.5) {
  EMPORIUM_CHECK(!values.empty(), "something was measured");
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(at * static_cast<double>(values.size() - 1))];
}

// A kind of request: how request n is made, and what is done with its answer.
struct Kind {
  const char* name;
  size_t peer = 0;
  std::function<Bytes(uint64_t n)> make;
  std::function<void(const runtime::Message& answer)> take;
  size_t depth = 1;
  uint64_t made = 0;
  size_t answer_bytes = 0;               // of the last one
  std::vector<double> rows_per_second;   // by burst
  std::vector<double> bytes_per_second;  // both ways
  std::vector<double> cpu_ms;            // of the whole process, by burst, for 8192 rows
  std::vector<double> clean;             // rows_per_second of the bursts that count
  std::vector<double> latency_ms;        // by request, with depth 1
};

void Burst(runtime::ClientSocket& socket, Kind* kind) {
  const double machine_before = MachineSeconds();
  const double own_before = CpuSeconds();
  const auto begin = steady_clock::now();
  std::deque<steady_clock::time_point> sent;
  uint64_t bytes = 0;
  uint64_t done = 0;
  const auto send = [&] {
    sent.push_back(steady_clock::now());
    Bytes request = kind->make(kind->made++);
    bytes += request.size();
    socket.Send(kind->peer, std::move(request));
  };
  kind->made += kind->made % 2;  // pulls are even, their pushes odd
  for (size_t i = 0; i < kind->depth; ++i) send();
  std::vector<double> latency;
  while (!sent.empty()) {
    size_t peer = 0;
    runtime::Message answer;
    EMPORIUM_CHECK(socket.Receive(peer, answer, 10'000) && peer == kind->peer, "an answer comes");
    kind->take(answer);
    kind->answer_bytes = answer.bytes().size();
    latency.push_back(SecondsSince(sent.front()) * 1e3);
    sent.pop_front();
    bytes += answer.bytes().size();
    ++done;
    if (SecondsSince(begin) < FLAGS_burst_seconds) send();
  }
  const double passed = SecondsSince(begin);
  const double foreign = (MachineSeconds() - machine_before - (CpuSeconds() - own_before)) / passed;
  kind->rows_per_second.push_back(static_cast<double>(done * kBatch) / passed);
  kind->bytes_per_second.push_back(static_cast<double>(bytes) / passed);
  kind->cpu_ms.push_back((CpuSeconds() - own_before) * 1e3 / static_cast<double>(done));
  if (foreign <= kForeign) kind->clean.push_back(kind->rows_per_second.back());
  kind->latency_ms.insert(kind->latency_ms.end(), latency.begin(), latency.end());
}

// Answers every request with as many bytes as its first 8 say.
class Echo {
 public:
  explicit Echo(runtime::Context& context) {
    std::promise<std::string> bound;
    thread_ = std::thread([this, &context, &bound] {
      auto socket = runtime::ServerSocket::Bind(context, "tcp://127.0.0.1:0").value();
      waker_ = socket->waker();
      bound.set_value(socket->endpoint());
      std::string peer;
      runtime::Message request;
      while (socket->Receive(peer, request, -1)) {
        uint64_t size = 0;
        std::memcpy(&size, request.bytes().data(), sizeof(size));
        socket->Send(peer, Bytes(size));
      }
    });
    endpoint = bound.get_future().get();
  }
  ~Echo() {
    waker_.Wake();
    thread_.join();
  }
  Echo(const Echo&) = delete;
  Echo& operator=(const Echo&) = delete;
  std::string endpoint;

 private:
  runtime::Waker waker_;
  std::thread thread_;
};

// The client's side of one table on one shard.
class Client {
 public:
  explicit Client(const std::string& endpoint) {
    route_.version = RouteVersion(1);
    route_.shard_of_partition = runtime::EvenAssignment(limits::kDefaultPartitions, 1);
    route_.endpoint_of_shard = {endpoint};
    std::mt19937_64 random(5);
    for (size_t b = 0; b < kBatches; ++b) {
      // A sample without repetition: one key of each of kBatch ranges.
      worker::TableKeys& keys = batches_.emplace_back();
      const uint64_t range = FLAGS_rows / kBatch;
      for (size_t i = 0; i < kBatch; ++i) keys.keys.push_back(Key(i * range + random() % range));
      std::shuffle(keys.keys.begin(), keys.keys.end(), random);
    }
    for (const worker::TableKeys& keys : batches_) {
      splits_.emplace_back(route_, std::vector<const worker::TableKeys*>{&keys});
    }
    values_.resize(kBatch * kDim);
    gradients_.resize(kBatch * kDim);
    for (float& g : gradients_) g = static_cast<float>(random() % 1000) * 1e-5f;
  }
  static uint64_t Key(uint64_t n) { return runtime::MixKey(n + 1); }

  // A step of one micro-batch that makes rows.
  Bytes MakeRows(uint64_t first) {
    worker::TableKeys keys;
    for (uint64_t n = first; n < std::min(FLAGS_rows, first + kBatch); ++n) {
      keys.keys.push_back(Key(n));
    }
    const worker::KeySplit split(route_, {&keys});
    return Push(split, step_++, keys.keys.size(), worker::KeyForm::kKeys);
  }
  Bytes Pull(uint64_t n) {
    FrameHeader header = Header(FrameType::kPull, step_);
    header.any_version = true;
    return EncodePull(header, splits_[n % kBatches], 0);
  }
  void TakeRows(const runtime::Message& answer) {
    const auto frame = FrameView::Parse(answer.bytes());
    EMPORIUM_CHECK(frame.ok(), frame.status().message().c_str());
    EMPORIUM_CHECK(frame->header().type == FrameType::kPullReply,
                   std::string(frame->error_message()).c_str());
    const worker::RowTarget target{values_, {}, nullptr, kDim};
    // Answers come in the order of requests; whose rows they are does not matter here.
    const Status status = DecodePull(splits_[0], {&answer, 1}, {&target, 1});
    EMPORIUM_CHECK(status.ok(), status.message().c_str());
  }
  // Completes a step.
  Bytes PushWithKeys(uint64_t n) {
    return Push(splits_[n % kBatches], step_++, kBatch, worker::KeyForm::kKeys);
  }
  void TakeAck(const runtime::Message& answer) {
    const auto header = FrameView::ParseHeader(answer.bytes());
    EMPORIUM_CHECK(header.ok() && header->type == FrameType::kAck, "a push is acknowledged");
  }
  // A pull and its push in turn, as training does.
  Bytes PullOrPush(uint64_t n) {
    if (n % 2 == 1) return Push(splits_[n / 2 % kBatches], step_++, kBatch, worker::KeyForm::kHash);
    FrameHeader header = Header(FrameType::kPull, step_);
    header.micro_batches = 1;
    return EncodePull(header, splits_[n / 2 % kBatches], 0);
  }
  void TakeEither(const runtime::Message& answer) {
    if (answer.bytes().size() > kFrameHeaderBytes) return TakeRows(answer);
    TakeAck(answer);
  }

 private:
  FrameHeader Header(FrameType type, uint64_t step) {
    FrameHeader header;
    header.type = type;
    header.request_id = ++requests_;
    header.route_version = route_.version;
    header.step = Step(step);
    return header;
  }
  Bytes Push(const worker::KeySplit& split, uint64_t step, size_t rows, worker::KeyForm form) {
    FrameHeader header = Header(FrameType::kPush, step);
    header.micro_batches = 1;
    const worker::GradientSource source{std::span(gradients_).first(rows * kDim), kDim, false};
    return EncodePush(header, split, 0, {&source, 1}, 0.5f, form);
  }

  runtime::Route route_;
  std::vector<worker::TableKeys> batches_;
  std::vector<worker::KeySplit> splits_;
  std::vector<float> values_;
  std::vector<float> gradients_;
  uint64_t step_ = 0;
  uint64_t requests_ = 0;
};

ps::Shard::Config ShardConfig(spec::ElementType element) {
  ps::TableSettings table;
  table.id = TableId(0);
  table.name = "rows";
  table.dim = kDim;
  table.element_type = element;
  table.seed = 1;
  table.optimizer.mutable_rowwise_adagrad()->set_learning_rate(0.02f);
  table.initializer.mutable_uniform()->set_low(-0.01f);
  table.initializer.mutable_uniform()->set_high(0.01f);
  ps::Shard::Config config;
  config.route_version = RouteVersion(1);
  config.partitions = limits::kDefaultPartitions;
  for (uint32_t p = 0; p < config.partitions; ++p) {
    config.owned.emplace_back(static_cast<uint16_t>(p));
  }
  config.tables = {table};
  return config;
}

// The same messages without anything in them.
Kind RawKind(const char* name, size_t request_bytes, size_t answer_bytes, size_t depth) {
  Kind kind;
  kind.name = name;
  kind.peer = 1;
  kind.depth = depth;
  kind.make = [request_bytes, answer_bytes](uint64_t) {
    Bytes request(request_bytes);
    const uint64_t size = answer_bytes;
    std::memcpy(request.data(), &size, sizeof(size));
    return request;
  };
  kind.take = [](const runtime::Message&) {};
  return kind;
}

void Print(const Kind& kind) {
  const std::vector<double>& rates = kind.clean.size() >= 5 ? kind.clean : kind.rows_per_second;
  std::printf(
      "%-24s %7.2f M rows/s (%.2f - %.2f), %6.0f MB/s, %.2f core-ms each, %zu of %zu "
      "bursts undisturbed\n",
      kind.name, MedianOf(rates) / 1e6, MedianOf(rates, 0) / 1e6, MedianOf(rates, 1) / 1e6,
      MedianOf(kind.bytes_per_second) / 1e6, MedianOf(kind.cpu_ms), kind.clean.size(),
      kind.rows_per_second.size());
}

// The ratio of each burst to that of the same round of the other kind.
double RatioOf(const Kind& a, const Kind& b) {
  std::vector<double> ratios;
  for (size_t i = 0; i < a.rows_per_second.size(); ++i) {
    ratios.push_back(a.rows_per_second[i] / b.rows_per_second[i]);
  }
  return MedianOf(ratios);
}

// One shard with its table of one element type, filled, and a client of it.
class Side {
 public:
  Side(runtime::Context& server, runtime::ClientSocket& socket, spec::ElementType element,
       size_t peer)
      : shard_(ps::ShardThread::Start(server, "tcp://127.0.0.1:0").value()) {
    std::promise<void> placed;
    shard_->Post([element, &placed](std::unique_ptr<ps::Shard>& shard, std::vector<ps::Send>*) {
      shard = std::make_unique<ps::Shard>(ShardConfig(element));
      placed.set_value();
    });
    placed.get_future().wait();
    client_ = std::make_unique<Client>(shard_->endpoint());
    EMPORIUM_CHECK(socket.Connect(peer, shard_->endpoint()).ok(), "the endpoint can be reached");
    for (uint64_t n = 0; n < FLAGS_rows; n += kBatch) {
      socket.Send(peer, client_->MakeRows(n));
      size_t from = 0;
      runtime::Message ack;
      EMPORIUM_CHECK(socket.Receive(from, ack, 60'000), "rows are made");
      client_->TakeAck(ack);
    }
    const auto kind = [&](const char* name, size_t depth, auto make, auto take) {
      Kind k;
      k.name = name;
      k.peer = peer;
      k.depth = depth;
      k.make = [this, make](uint64_t n) { return (client_.get()->*make)(n); };
      k.take = [this, take](const runtime::Message& m) { (client_.get()->*take)(m); };
      return k;
    };
    const auto depth = static_cast<size_t>(FLAGS_depth);
    pull = kind("pull", depth, &Client::Pull, &Client::TakeRows);
    push = kind("push", depth, &Client::PushWithKeys, &Client::TakeAck);
    both = kind("pull, then its push", depth, &Client::PullOrPush, &Client::TakeEither);
    one_pull = kind("pull, one at a time", 1, &Client::Pull, &Client::TakeRows);
  }
  Kind pull, push, both, one_pull;

 private:
  std::unique_ptr<ps::ShardThread> shard_;
  std::unique_ptr<Client> client_;
};

int Run() {
  runtime::KeepFreedMemory();
  runtime::Context server;
  runtime::Context client;
  const auto socket = runtime::ClientSocket::Create(client);
  Echo echo(server);
  EMPORIUM_CHECK(socket->Connect(1, echo.endpoint).ok(), "the endpoint can be reached");
  Side fp32(server, *socket, spec::FP32, 0);
  Side fp16(server, *socket, spec::FP16, 2);
  const size_t head = kFrameHeaderBytes + kSectionHeaderBytes;
  const size_t rows = kBatch * kDim * sizeof(float);
  const auto depth = static_cast<size_t>(FLAGS_depth);
  Kind raw_pull = RawKind("raw, sizes of a pull", head + 8 * kBatch, head + rows, depth);
  Kind raw_push = RawKind("raw, sizes of a push", head + 8 * kBatch + rows, head, depth);
  Kind raw_one = RawKind("raw, one at a time", head + 8 * kBatch, head + rows, 1);
  const std::vector<Kind*> kinds = {&raw_pull,  &fp32.pull,     &fp16.pull,    &raw_push,
                                    &fp32.push, &fp16.push,     &fp32.both,    &fp16.both,
                                    &raw_one,   &fp32.one_pull, &fp16.one_pull};
  for (int i = -1; i < FLAGS_bursts; ++i) {
    for (Kind* kind : kinds) {
      Burst(*socket, kind);
      if (i >= 0) continue;
      kind->rows_per_second.clear();  // the first round warms up
      kind->bytes_per_second.clear();
      kind->cpu_ms.clear();
      kind->clean.clear();
      kind->latency_ms.clear();
    }
  }
  for (const Kind* kind : kinds) {
    if (kind == &fp16.pull || kind == &fp16.push || kind == &fp16.both || kind == &fp16.one_pull) {
      std::printf("fp16 ");
    }
    Print(*kind);
  }
  const std::vector<double>& latency = fp32.one_pull.latency_ms;
  std::printf("figure pull_p50_ms %.3f\nfigure pull_p99_ms %.3f\n", MedianOf(latency),
              MedianOf(latency, 0.99));
  std::printf("figure pull_rows_per_s %.0f\nfigure pull_of_raw %.4f\n",
              MedianOf(fp32.pull.rows_per_second), RatioOf(fp32.pull, raw_pull));
  std::printf("figure push_rows_per_s %.0f\nfigure push_of_raw %.4f\n",
              MedianOf(fp32.push.rows_per_second), RatioOf(fp32.push, raw_push));
  std::printf(
      "figure fp16_pull_over_fp32 %.4f\nfigure fp16_reply_bytes_of_fp32 %.4f\n",
      RatioOf(fp16.pull, fp32.pull),
      static_cast<double>(fp16.pull.answer_bytes) / static_cast<double>(fp32.pull.answer_bytes));
  return 0;
}

}  // namespace
}  // namespace emporium::bench

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  return emporium::bench::Run();
}
