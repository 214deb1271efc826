// Rows of typed cells out of the user's files: CSV and TSV (plain, gzip, zstd), or column files
// that Emporium made before. Only the columns that were asked for are looked at.
//
// A row is taken whole or not at all: a text enters a pool only when the whole row is sound. Rows
// that are not (wrong number of fields, a number that is none or does not fit) are counted, a few
// are told to the caller's `warn`, and when a file has too many of them the reader ends with
// InvalidArgument naming file and line.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"
#include "worker/string_pool.h"

namespace emporium::worker {

// What an empty field of a dictionary column is.
enum class EmptyText : uint8_t {
  kValue,    // a text like any other
  kMissing,  // no text: code -1
  kBad,      // reason enough to refuse the row
};

struct ReadColumn {
  std::string name;
  spec::ColumnType type = spec::STRING;
  StringPool* pool = nullptr;  // STRING and TEXT always; INT when its decimal text is wanted too
  EmptyText empty = EmptyText::kValue;
};

// By type: `code` with a pool, `integer` of INT, `number` of FLOAT (as the text says it, in double;
// finite as a float too).
struct Cell {
  int32_t code = -1;
  int64_t integer = 0;
  double number = 0;
};

struct ReadPolicy {
  uint64_t max_bad_rows = 100;
  double max_bad_fraction = 0.01;
  std::function<void(const std::string&)> warn;
};

struct ReadCounts {
  int64_t rows = 0;
  int64_t bad_rows = 0;
  int64_t bytes = 0;  // of text, unpacked
};

class RowReader {
 public:
  virtual ~RowReader() = default;
  // False at the end of the file. `cells` has one entry per column.
  virtual Result<bool> Next(std::span<Cell> cells) = 0;
  // Where the row that Next gave last begins: the line of a text, the row of a column file, from 1.
  virtual int64_t line() const = 0;
  // Refuses the row that Next gave last, for a reason that only the caller can see.
  virtual void Refuse(const std::string& why) = 0;
  virtual const ReadCounts& counts() const = 0;
};

// Opens one file. InvalidArgument names file, expected and found columns when the header does not
// have them all. A directory means the column file of events (or items) that is in it.
Result<std::unique_ptr<RowReader>> OpenRows(const std::string& path, const spec::TextSource& source,
                                            const std::vector<ReadColumn>& columns,
                                            const ReadPolicy& policy);

// The paths of a source's files and globs, each glob's matches in sorted order. Relative ones lie
// in `data_dir`. NotFound names the first that matches nothing.
Result<std::vector<std::string>> ExpandFiles(
    const google::protobuf::RepeatedPtrField<std::string>& patterns, const std::string& data_dir);

// Whether a text file's fields are separated by tabs rather than commas: as `format` says, for AUTO
// by the name's ending.
bool TabSeparated(const std::string& path, spec::Format format);

// Parses a whole field: false when it is not a number of that kind, or beyond its range.
bool ParseInteger(std::string_view text, int64_t* value);
bool ParseNumber(std::string_view text, double* value);

}  // namespace emporium::worker
