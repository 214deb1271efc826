// XXH3-128 of bytes that come in pieces. A value; belongs to one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

struct XXH3_state_s;

namespace emporium::runtime {

class Xxh3 {
 public:
  Xxh3();
  void Add(const void* bytes, size_t size);
  // 16 bytes, in canonical order; the next digest begins.
  std::string Finish();

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace emporium::runtime
