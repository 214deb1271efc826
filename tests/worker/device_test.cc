#include "worker/device.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace emporium::worker {
namespace {

TEST(Device, LanesOfAHostTakeTheGpusInTurn) {
  const auto gpus = [](uint32_t workers, uint32_t lanes, uint32_t count) {
    std::vector<uint32_t> taken;
    for (uint32_t w = 0; w < workers; ++w) {
      for (uint32_t i = 0; i < lanes; ++i) taken.push_back(GpuOfLane(w * lanes + i, count));
    }
    return taken;
  };
  EXPECT_EQ(gpus(2, 2, 4), (std::vector<uint32_t>{0, 1, 2, 3}));
  EXPECT_EQ(gpus(1, 3, 2), (std::vector<uint32_t>{0, 1, 0}));
  EXPECT_EQ(gpus(3, 1, 1), (std::vector<uint32_t>{0, 0, 0}));
}

TEST(Device, TheCpuIsAlwaysThere) {
  EXPECT_TRUE(CheckDevice(spec::Cluster::CPU).ok());
  const auto device = OpenDevice(spec::Cluster::CPU, 7);
  ASSERT_TRUE(device.ok());
  EXPECT_FALSE((*device)->place().remote);
}

TEST(Device, WhatItThrowsIsAStatus) {
  const Status status = OnDevice([]() -> Status { throw std::runtime_error("out of memory"); });
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("out of memory"), std::string::npos);
  const Result<int> value = OnDevice([]() -> Result<int> { return 3; });
  EXPECT_EQ(*value, 3);
}

}  // namespace
}  // namespace emporium::worker
