// One column of a data set while it is made: its pool of texts, its place in a sort record, and how
// it is written in final order. Used by dataset_writer.cc alone. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/job.pb.h"
#include "worker/column_file.h"
#include "worker/string_pool.h"
#include "worker/text_reader.h"

namespace emporium::worker {

// New numbers for a pool's texts, by first use.
class Renumbering {
 public:
  explicit Renumbering(int32_t texts) : renamed_(static_cast<size_t>(texts), -1) {}
  int32_t Use(int32_t code) {
    if (code < 0) {
      return -1;
    }
    int32_t& renamed = renamed_[static_cast<size_t>(code)];
    if (renamed < 0) {
      renamed = static_cast<int32_t>(order_.size());
      order_.push_back(code);
    }
    return renamed;
  }
  // Old codes in the order of the new ones.
  const std::vector<int32_t>& order() const { return order_; }

 private:
  std::vector<int32_t> renamed_;
  std::vector<int32_t> order_;
};

class DatasetColumn {
 public:
  // `wide`: a FLOAT column is kept in double (time). `pool`: shared with other columns, or null.
  DatasetColumn(const spec::Column& column, bool wide, EmptyText empty, bool want_text,
                std::shared_ptr<StringPool> pool);

  const std::string& name() const { return name_; }
  ReadColumn read() const;
  bool has_pool() const { return pool_ != nullptr; }
  StringPool& pool() { return *pool_; }
  std::shared_ptr<StringPool> shared_pool() { return pool_; }

  // In a sort record.
  size_t record_bytes() const;
  void Encode(const Cell& cell, std::byte* at) const;
  Cell Decode(const std::byte* at) const;
  // Every row must be counted before Announce: a TEXT column's words need room.
  void Count(const Cell& cell);

  // Splits the texts of a TEXT column; appends the arrays that the column will fill.
  void Announce(uint64_t rows, std::vector<ArraySpec>* arrays);
  // Begins to fill; then one Write per row in final order, then texts that no row used, then End.
  void Begin(ColumnFileWriter* writer);
  void Write(uint64_t row, const Cell& cell);
  // The final code of a text; the next free one when it has none yet.
  int32_t Use(int32_t code) { return renumbering_->Use(code); }
  const std::vector<int32_t>& order() const { return renumbering_->order(); }
  void End();

 private:
  std::string Array(const char* part) const;

  const std::string name_;
  const spec::ColumnType type_;
  const bool wide_;
  const EmptyText empty_;
  // Shared: the items' key column has the pool of the events' item column.
  std::shared_ptr<StringPool> pool_;
  std::vector<int64_t> uses_;  // TEXT: rows by text

  StringPool words_;
  std::vector<int32_t> word_;  // TEXT: words by text, ragged
  std::vector<size_t> word_offset_;

  ColumnFileWriter* writer_ = nullptr;
  std::unique_ptr<Renumbering> renumbering_;
  std::unique_ptr<Renumbering> word_renumbering_;
  std::span<int32_t> codes_;
  std::span<int64_t> ints_;
  std::span<float> floats_;
  std::span<double> doubles_;
  std::span<int32_t> row_words_;
  std::span<int64_t> row_word_offset_;
};

// Writes the texts of `pool` in `order` as dictionary `prefix`.
void FillDictionary(ColumnFileWriter* writer, const std::string& prefix, const StringPool& pool,
                    const std::vector<int32_t>& order);

}  // namespace emporium::worker
