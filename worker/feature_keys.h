// A feature's values as keys: of any row of its column, computed beforehand per dictionary entry
// where there is a dictionary. Immutable; safe from any thread. Refers to the Dataset.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "proto/ids.h"
#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/dataset.h"
#include "worker/key_hash.h"

namespace emporium::worker {

class FeatureKeys {
 public:
  // Looks the feature up by name. InvalidArgument names what does not fit: no such column, no such
  // table, IDENTITY of a column that holds no integers.
  static Result<FeatureKeys> Create(const Dataset& dataset, const spec::Job& job,
                                    const std::string& name);

  const std::string& name() const { return name_; }
  TableId table() const { return table_; }
  // Words: a row has any number of keys. Otherwise exactly one.
  bool lists() const { return view_.type == spec::TEXT; }

  uint64_t Key(int64_t row) const {
    const auto r = static_cast<size_t>(row);
    if (!view_.codes.empty()) {
      // -1 is the item of a search event: as if its text were empty.
      const int32_t code = view_.codes[r];
      return code < 0 ? none_ : key_of_code_[static_cast<size_t>(code)];
    }
    return identity_ ? static_cast<uint64_t>(view_.ints[r]) : KeyOfInteger(view_.ints[r], salt_);
  }
  // Key of a value that is not there, as if its text were empty.
  uint64_t none() const { return none_; }
  // Key of each row. Rows of a shuffled batch lie far apart: memory is fetched ahead.
  void Keys(std::span<const int64_t> rows, std::vector<uint64_t>* keys) const;
  // Appends the keys of the row's words that are frequent enough, at most max_length of them.
  void Words(int64_t row, std::vector<uint64_t>* keys) const;
  // The same for many rows: the keys of rows[i] are those from offset[i] to before offset[i + 1].
  void Words(std::span<const int64_t> rows, std::vector<uint64_t>* keys,
             std::vector<int32_t>* offset) const;

 private:
  void CreateWords(const spec::Feature& feature);
  // Calls take(word) for each word that Words appends the key of.
  template <class Take>
  void ForEachWord(int64_t row, Take take) const {
    const auto r = static_cast<size_t>(row);
    uint32_t taken = 0;
    for (int64_t w = view_.text_offset[r]; w < view_.text_offset[r + 1] && taken < max_length_;
         ++w) {
      const auto word = static_cast<size_t>(view_.words[static_cast<size_t>(w)]);
      if (!dropped_.empty() && dropped_[word]) continue;
      take(word);
      ++taken;
    }
  }

  std::string name_;
  TableId table_;
  uint64_t salt_ = 0;
  bool identity_ = false;
  uint64_t none_ = 0;
  uint32_t max_length_ = 0;
  ColumnView view_;
  std::vector<uint64_t> key_of_code_;  // STRING: by code; TEXT: by word
  std::vector<bool> dropped_;          // TEXT: words that are too rare; empty: none is
};

// The feature of that name, the number of a table of that name; null and false when there is none.
const spec::Feature* FindFeatureSpec(const spec::Job& job, const std::string& name);
bool FindTableId(const spec::Job& job, const std::string& name, TableId* id);

// Key of each item of the catalogue by a feature of source ITEM, or of source ROW over the events'
// item column.
Result<std::vector<uint64_t>> ItemKeys(const Dataset& dataset, const spec::Job& job,
                                       const std::string& feature, TableId* table);

}  // namespace emporium::worker
