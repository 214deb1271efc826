// Digests of rows, independent of where and in which file they lie. That of a partition is
//
//   partition := SHA-256( (rows(table) | total f64 | total step u32 | total time u32
//                          | total f64 for each counter) for each table by id )
//   rows      := XXH3-128( (key u64 | weights | state f32.. | popularity f32 if kept
//                          | last_step u32 | updates u32 | extra u32..) for each row by ascending
//                         key, then gone u64.. in a checkpoint of changes, then sketch u8..
//                         | held u32 if the table has an admission sketch )
//
// XXH3 (canonical, 16 bytes) because a digest tells models apart and need not withstand an
// attacker: hashing rows with SHA-256 was a fifth of a checkpoint's time.
//
// little endian; weights in the bytes of the table's element type (proto/element.h). The table's
// totals are the same on every shard, so they may stand in every partition. Values; belongs
// to one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ps/table.h"
#include "runtime/xxh3.h"

namespace emporium::ps {

// rows(table) of one partition.
class RowsDigest {
 public:
  RowsDigest();
  // Rows in ascending order of key.
  void Add(const RowView& row, bool popularity);
  // Keys whose rows went, behind the rows: in a checkpoint of changes alone.
  void Add(std::span<const uint64_t> gone);
  // The partition's admission sketch, behind these.
  void Add(std::span<const uint8_t> sketch, uint32_t held);
  // 16 bytes; the next one starts.
  std::string Finish();

 private:
  void Put(std::span<const std::byte> bytes);
  template <class T>
  void PutValue(const T& value) {
    Put(std::as_bytes(std::span(&value, 1)));
  }
  void Flush();

  runtime::Xxh3 hash_;
  // Rows are small and a call of the hash is not.
  std::vector<std::byte> buffer_;
  size_t filled_ = 0;
};

// One table's part of a partition's digest.
struct TablePart {
  std::string rows;  // RowsDigest
  Table::Total total;
};
std::string PartitionDigest(std::span<const TablePart> tables);

}  // namespace emporium::ps
