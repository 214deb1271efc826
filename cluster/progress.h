// The progress line of a running job: a bar that is drawn again in place on a terminal, a line now
// and then otherwise. One thread.
#pragma once

#include <cstdint>
#include <string>

#include "scheduler/status.h"

namespace emporium::cluster {

class ProgressPrinter {
 public:
  // `terminal`: draw in place. `width`: columns of the terminal.
  ProgressPrinter(bool terminal, int width);
  // What stdout is.
  static ProgressPrinter ForStdout();
  // Shows the state at `now_ms`; prints only when something is new and, off a terminal, not more
  // often than every 5 s for the same stage.
  void Show(const scheduler::Progress& progress, int64_t now_ms);
  // Ends the line that is drawn, so that other output starts on one of its own.
  void EndLine();

 private:
  bool terminal_;
  int width_;
  bool drawn_ = false;
  std::string last_stage_;
  int64_t last_ms_ = -1'000'000;
};

// "pretrain [#####.....] 52% 1,234/2,345 steps  98.7 k samples  4.1 k/s  loss 5.123  0:42 left"
std::string FormatProgress(const scheduler::Progress& progress, int bar_width);

}  // namespace emporium::cluster
