// Reads the tensor files of tests/reference (grammar: tests/reference/tensors.py).
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "proto/check.h"
#include "tests/source_dir.h"

namespace emporium::models {

struct NamedTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

class TensorFile {
 public:
  explicit TensorFile(const std::string& name) {
    const auto path = TestsFolder() / "reference" / name;
    std::ifstream in(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    EMPORIUM_CHECK(bytes.compare(0, 4, "EMT1") == 0, "tests/reference holds the tensor file");
    size_t at = 4;
    const auto take = [&](size_t size, void* out) {
      EMPORIUM_CHECK(at + size <= bytes.size(), "the tensor file is whole");
      if (size > 0) std::memcpy(out, bytes.data() + at, size);
      at += size;
    };
    while (at < bytes.size()) {
      uint32_t length = 0;
      take(4, &length);
      std::string key(length, ' ');
      take(length, key.data());
      uint32_t dimensions = 0;
      take(4, &dimensions);
      NamedTensor tensor;
      size_t size = 1;
      for (uint32_t i = 0; i < dimensions; ++i) {
        uint32_t extent = 0;
        take(4, &extent);
        tensor.shape.push_back(extent);
        size *= extent;
      }
      tensor.values.resize(size);
      take(4 * size, tensor.values.data());
      tensors_[key] = std::move(tensor);
    }
  }

  bool has(const std::string& name) const { return tensors_.count(name) > 0; }
  const NamedTensor& at(const std::string& name) const {
    EMPORIUM_CHECK(has(name), name.c_str());
    return tensors_.at(name);
  }
  const std::vector<float>& floats(const std::string& name) const { return at(name).values; }
  template <class T = int32_t>
  std::vector<T> ints(const std::string& name) const {
    std::vector<T> result;
    for (float x : floats(name)) result.push_back(static_cast<T>(x));
    return result;
  }
  // Names that start with `prefix`, without it.
  std::vector<std::string> names(const std::string& prefix) const {
    std::vector<std::string> result;
    for (const auto& [name, tensor] : tensors_) {
      if (name.compare(0, prefix.size(), prefix) == 0) result.push_back(name.substr(prefix.size()));
    }
    return result;
  }

 private:
  std::map<std::string, NamedTensor> tensors_;
};

}  // namespace emporium::models
