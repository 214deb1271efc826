// Which id (and title) each row of an exported matrix stands for: a TSV file with a header line,
//
//   row <tab> id [<tab> title]
//
// in order of row. A tab, newline, carriage return or backslash inside a text is written as \t, \n,
// \r, \\. Values; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "proto/status.h"

namespace emporium::worker {

class IdMapWriter {
 public:
  explicit IdMapWriter(bool with_titles);
  void Add(std::string_view id, std::string_view title);
  int64_t rows() const { return rows_; }
  const std::string& text() const { return text_; }

 private:
  bool with_titles_;
  int64_t rows_ = 0;
  std::string text_;
};

struct IdMap {
  std::vector<std::string> id;
  std::vector<std::string> title;  // empty texts where the file has none
  std::unordered_map<std::string, int32_t> row;
};

// `path` is named in errors. DataLoss when a line is not as above.
Result<IdMap> ParseIdMap(const std::string& path, std::string_view text);

}  // namespace emporium::worker
