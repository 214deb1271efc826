// Processor time. Any thread.
#pragma once

#include <time.h>

#include <cstdint>
#include <fstream>
#include <string>

namespace emporium::bench {

// Of all threads, since the start.
inline double CpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Of the calling thread.
inline double ThreadCpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// Of all processors since the machine started, in hundredths of a second.
struct MachineTicks {
  uint64_t busy = 0;    // with anything
  uint64_t stolen = 0;  // taken by the host of this virtual machine
};
inline MachineTicks ReadMachineTicks() {
  std::ifstream stat("/proc/stat");
  std::string name;
  uint64_t user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0;
  stat >> name >> user >> nice >> system >> idle >> wait >> irq >> soft >> steal;
  return {user + nice + system + irq + soft, steal};
}

}  // namespace emporium::bench
