// What the tests of data share: a directory of their own, files in it, jobs from text.
#pragma once

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "proto/job.pb.h"
#include "worker/batch_source.h"
#include "worker/dataset.h"
#include "worker/prepare.h"

namespace emporium::worker {

class DataTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    dir_ = std::filesystem::path(::testing::TempDir()) /
           (std::string(info->test_suite_name()) + "." + info->name() + "." +
            std::to_string(::getpid()));
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string Path(const std::string& name) const { return (dir_ / name).string(); }
  std::string Write(const std::string& name, const std::string& bytes) const {
    std::ofstream out(Path(name), std::ios::binary);
    out << bytes;
    return Path(name);
  }
  static std::string Read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::stringstream bytes;
    bytes << in.rdbuf();
    return bytes.str();
  }
  static spec::Job ParseJob(const std::string& text) {
    spec::Job job;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &job)) << text;
    return job;
  }
  Result<PrepareReport> Prepare(const spec::Job& job, const std::string& out,
                                size_t run_bytes = 1 << 20) const {
    PrepareOptions options;
    options.sort_run_bytes = run_bytes;
    return PrepareDataset(job, dir_.string(), Path(out), options);
  }
  // Prepares and opens; fails the test when it cannot be.
  std::unique_ptr<Dataset> Data(const spec::Job& job, const std::string& out = "prepared") const {
    const auto report = Prepare(job, out);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    auto dataset = Dataset::Open(Path(out));
    EXPECT_TRUE(dataset.ok()) << dataset.status().ToString();
    return std::move(dataset).value();
  }
  std::unique_ptr<BatchSource> Source(const spec::Job& job,
                                      const std::string& out = "prepared") const {
    const auto report = Prepare(job, out);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    auto source = BatchSource::Open(job, Path(out));
    EXPECT_TRUE(source.ok()) << source.status().ToString();
    return std::move(source).value();
  }

  std::filesystem::path dir_;
};

}  // namespace emporium::worker
