// Seeded synthetic click logs of the throughput workloads, written as .npy files (which the peers'
// scripts read) and as CSV (which Emporium reads): the same samples in both.
//
//   ctr       26 categorical keys, 13 dense values, a label
//   seq       user, item, category, a history of 50 item keys, a label; in CSV the items of a
//   history
//             are words, and keys unsigned
//   twotower  a history of 50 item keys and the next item
//
// Ids follow a bounded Zipf law; a rank is scattered inside its vocabulary by a fixed bijection and
// the id becomes a 64-bit key by an invertible mixer: key = mix(field << 40 | id).
#pragma once

#include <cstdint>
#include <string>

#include "proto/status.h"

namespace emporium::bench {

inline constexpr int kCtrFields = 26;
inline constexpr int kCtrDense = 13;
inline constexpr int kHistory = 50;
inline constexpr int kCategories = 10'000;

struct WorkloadOptions {
  uint64_t samples = 0;
  uint64_t vocabulary = 0;  // ids per field
  double zipf = 1.05;
  uint64_t seed = 20260901;
};

// Writes DIR/<kind>/{meta.json, *.npy, events.csv}; does nothing when meta.json is there already.
Status WriteCtr(const std::string& dir, const WorkloadOptions& options);
Status WriteSequences(const std::string& dir, const WorkloadOptions& options);
Status WriteTwoTower(const std::string& dir, const WorkloadOptions& options);

}  // namespace emporium::bench
