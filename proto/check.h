// Always-on checks for our own bugs. What a peer, a disk or a user can cause is a Status instead.
// The macro carries the project's name because LibTorch defines CHECK for itself.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace emporium {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* condition,
                                     const char* message) {
  std::fprintf(stderr, "%s:%d: check failed: %s: %s\n", file, line, condition, message);
  std::fflush(stderr);
  std::abort();
}

}  // namespace emporium

// EMPORIUM_CHECK(condition, "what must hold, in words");
#define EMPORIUM_CHECK(condition, message)                                \
  do {                                                                    \
    if (!(condition)) [[unlikely]] {                                      \
      ::emporium::CheckFailed(__FILE__, __LINE__, #condition, (message)); \
    }                                                                     \
  } while (false)
