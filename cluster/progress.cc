#include "cluster/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace emporium::cluster {
namespace {

constexpr int64_t kLineEveryMs = 5'000;

std::string Short(double number) {
  char text[32];
  if (number >= 1e9) {
    std::snprintf(text, sizeof(text), "%.2f G", number / 1e9);
  } else if (number >= 1e6) {
    std::snprintf(text, sizeof(text), "%.2f M", number / 1e6);
  } else if (number >= 1e4) {
    std::snprintf(text, sizeof(text), "%.1f k", number / 1e3);
  } else {
    std::snprintf(text, sizeof(text), "%.0f", number);
  }
  return text;
}

std::string TimeLeft(const scheduler::Progress& p) {
  if (!p.has_seconds_left) return "";
  const auto seconds = static_cast<int64_t>(p.seconds_left);
  char text[48];
  std::snprintf(text, sizeof(text), "  %ld:%02ld left", static_cast<long>(seconds / 60),
                static_cast<long>(seconds % 60));
  return text;
}

}  // namespace

std::string FormatProgress(const scheduler::Progress& p, int bar_width) {
  if (p.stage.empty()) return p.doing;
  const double share =
      p.total == 0 ? 0 : std::min(1.0, static_cast<double>(p.done) / static_cast<double>(p.total));
  const int filled = static_cast<int>(share * bar_width);
  std::string line = p.stage;
  if (p.total > 0) {
    line += " [" + std::string(filled, '#') + std::string(bar_width - filled, '.') + "]";
    char numbers[80];
    std::snprintf(numbers, sizeof(numbers), " %3.0f%% %lu/%lu", share * 100,
                  static_cast<unsigned long>(p.done), static_cast<unsigned long>(p.total));
    line += numbers;
  }
  if (p.samples > 0) line += "  " + Short(static_cast<double>(p.samples)) + " samples";
  if (p.samples_per_second > 0) line += "  " + Short(p.samples_per_second) + "/s";
  if (p.has_loss) {
    char loss[32];
    std::snprintf(loss, sizeof(loss), "  loss %.4f", p.loss);
    line += loss;
  }
  line += TimeLeft(p);
  if (!p.doing.empty() && p.doing != "training") line += "  (" + p.doing + ")";
  return line;
}

ProgressPrinter::ProgressPrinter(bool terminal, int width) : terminal_(terminal), width_(width) {}

ProgressPrinter ProgressPrinter::ForStdout() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return ProgressPrinter(isatty(STDOUT_FILENO) != 0, known ? size.ws_col : 100);
}

void ProgressPrinter::Show(const scheduler::Progress& progress, int64_t now_ms) {
  const std::string stage = progress.stage + "/" + progress.doing;
  if (!terminal_) {
    if (stage == last_stage_ && now_ms - last_ms_ < kLineEveryMs) return;
    last_stage_ = stage;
    last_ms_ = now_ms;
    std::printf("%s\n", FormatProgress(progress, 20).c_str());
    std::fflush(stdout);
    return;
  }
  if (drawn_ && progress.stage != last_stage_) EndLine();
  last_stage_ = progress.stage;
  std::string line = FormatProgress(progress, 24);
  line.resize(static_cast<size_t>(std::max(width_ - 1, 20)), ' ');
  std::printf("\r%s", line.c_str());
  std::fflush(stdout);
  drawn_ = true;
}

void ProgressPrinter::EndLine() {
  if (drawn_) std::printf("\n");
  drawn_ = false;
}

}  // namespace emporium::cluster
