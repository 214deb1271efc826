// A device of memory of its own that is the host's memory: it runs the tasks that a GPU would run,
// through the same plans and staging. Its queue is honest: a task reads only what was sent, results
// are there only after Wait, and the elements of a task run from the last to the first.
#pragma once

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "models/staged_device.h"
#include "proto/check.h"

namespace emporium::models {

template <class Task>
void RunOnHost(const Task& task) {
  for (int64_t item = task.items - 1; item >= 0; --item) {
    for (int32_t k = task.width - 1; k >= 0; --k) task(item, k);
  }
}

class HostBackend final : public Backend {
 public:
  ~HostBackend() override { EMPORIUM_CHECK(blocks_.empty(), "every block was given back"); }
  const Device::Place& place() const override { return place_; }

  Block Allocate(size_t bytes) override {
    auto memory = std::make_unique<std::byte[]>(2 * bytes);
    std::memset(memory.get(), 0x7f, 2 * bytes);
    const Block block = {memory.get(), memory.get() + bytes, bytes};
    blocks_.emplace(block.host, std::move(memory));
    return block;
  }
  void Free(const Block& block) override {
    EMPORIUM_CHECK(queue_.empty(), "nothing uses what is freed");
    blocks_.erase(block.host);
  }
  void Send(const Block& block, size_t from, size_t to) override {
    EMPORIUM_CHECK(from < to && to <= block.bytes, "a part of the block");
    queue_.emplace_back(
        [block, from, to] { std::memcpy(block.device + from, block.host + from, to - from); });
    // LibTorch's own operations run at once here, so what they read must be there.
    Drain();
  }
  void Receive(const void* device, std::byte* pinned, size_t bytes) override {
    queue_.emplace_back([device, pinned, bytes] { std::memcpy(pinned, device, bytes); });
  }
  void Run(const DeviceTask& task) override {
    std::visit([](const auto& one) { RunOnHost(one); }, task);
  }
  void Wait() override { Drain(); }

 private:
  void Drain() {
    for (const auto& step : queue_) step();
    queue_.clear();
  }

  const Device::Place place_ = {true, -1, 0};
  std::map<std::byte*, std::unique_ptr<std::byte[]>> blocks_;
  std::vector<std::function<void()>> queue_;
};

inline std::unique_ptr<Device> MakeHostDevice() {
  return MakeStagedDevice(std::make_unique<HostBackend>());
}

}  // namespace emporium::models
